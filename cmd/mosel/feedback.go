package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/spf13/cobra"
)

// feedbackFlags are the flags of `mosel feedback`.
type feedbackFlags struct {
	addr    string
	model   string
	version string
	sampled bool
	json    string
}

func feedbackCommand() *cobra.Command {
	var f feedbackFlags
	cmd := &cobra.Command{
		Use:   "feedback FILE",
		Short: "Bring labels of requests that were answered before",
		Long: `Send the right answers to requests that a server has answered before. The server
compares them with its answers, and shows the measured accuracy beside what it had
promised: 'mosel status', metrics, 'mosel profile --from-feedback'. It must have been
started with --feedback, and keeps its answers for a day.

FILE is CSV or JSON lines; - is standard input. CSV has a first line with the names of
its columns:

  id       of the request: the client's, or the parameter job of the answer
  label    the right answer: a number or a class name; several separated by ;
  score    in place of label: how right the answer was, 0 to 1
  sampled  true if the request was chosen for labelling at random (may be left out)

A request with several items has a line for each item, in their order; an empty label
or score says that the item is not labelled. A line of JSON is one request, such as
{"id": "r-17", "labels": [7], "sampled": true}.

Labels count once: the same file may be sent again. Say --sampled, or sampled, only if
nobody looked at a request or its answer before it was chosen for labelling. Other
labels are counted apart, because people often label what looks wrong.

If the server has tokens, put a token into the environment variable
` + tokenVariable + `.`,
		Example: "  mosel feedback labels.csv --model digits --sampled\n  mosel feedback labels.jsonl --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one file with labels, or - for standard input\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return bringFeedback(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", defaultAddr, "URL of the server")
	flags.StringVar(&f.model, "model", "", "the model that answered (default: the server's only one)")
	flags.StringVar(&f.version, "model-version", "", "the version that answered (default: the one that is served)")
	flags.BoolVar(&f.sampled, "sampled", false, "all requests of the file were chosen for labelling at random")
	addJSONFlag(flags, &f.json)
	return cmd
}

// bringFeedback sends a file.
func bringFeedback(cmd *cobra.Command, file string, f feedbackFlags) error {
	records, err := readFeedback(cmd.InOrStdin(), file)
	if err != nil {
		return err
	}
	for i := range records {
		records[i].Sampled = records[i].Sampled || f.sampled
	}
	c, err := newClient(f.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if f.model == "" {
		if f.model, err = onlyModel(cmd.Context(), c, f.addr); err != nil {
			return err
		}
	}
	sum, err := f.send(cmd.Context(), c, file, records)
	if err != nil {
		if sum.Accepted > 0 {
			err = fmt.Errorf("%w\nThe server has taken the %s before. After a correction, send the whole file again: labels count once", err, counted(sum.Accepted, "label"))
		}
		return err
	}
	return writeReport(f.json, cmd.OutOrStdout(), sum, func(out io.Writer) error {
		_, err := io.WriteString(out, feedbackText(sum))
		return err
	})
}

// onlyModel returns the name of the server's only model.
func onlyModel(ctx context.Context, c *client.Client, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := c.Models(ctx)
	if err != nil {
		return "", reportError(addr, err)
	}
	var names []string
	for _, m := range list {
		if len(names) == 0 || names[len(names)-1] != m.Name {
			names = append(names, m.Name)
		}
	}
	if len(names) != 1 {
		return "", usageError{fmt.Errorf("the server has %s: name one with --model", counted(len(names), "model")+listOf(names))}
	}
	return names[0], nil
}

func listOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// feedbackCallBytes bounds a call. The server takes twice as much.
const feedbackCallBytes = 512 << 10

// send sends records in as many calls as they need.
func (f feedbackFlags) send(ctx context.Context, c *client.Client, file string, records []labelledRecord) (sum oip.FeedbackResult, err error) {
	for len(records) > 0 {
		var call []oip.Feedback
		size := 0
		for _, r := range records {
			text, err := json.Marshal(r.Feedback)
			if err != nil {
				return sum, err
			}
			if size += len(text) + 1; len(call) > 0 && (size > feedbackCallBytes || len(call) == oip.FeedbackRecordsMax) {
				break
			}
			call = append(call, r.Feedback)
		}
		result, err := c.VersionFeedback(ctx, f.model, f.version, call...)
		if err != nil {
			return sum, refusedFeedback(err, file, records)
		}
		sum.Accepted += result.Accepted
		sum.Duplicate += result.Duplicate
		sum.Unknown += result.Unknown
		sum.Unanswered += result.Unanswered
		room := min(len(result.UnknownIDs), oip.UnknownIDsMax-len(sum.UnknownIDs))
		sum.UnknownIDs = append(sum.UnknownIDs, result.UnknownIDs[:room]...)
		records = records[len(call):]
	}
	return sum, nil
}

// recordText finds the number of a record in an error of the server.
var recordText = regexp.MustCompile(`^record (\d+): `)

// refusedFeedback names the line that the server has refused.
func refusedFeedback(err error, file string, records []labelledRecord) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return err
	}
	if errors.Is(err, client.ErrUnauthenticated) || errors.Is(err, client.ErrForbidden) {
		return fmt.Errorf("%s\nPut a token that may bring labels into the environment variable %s", refused.Message, tokenVariable)
	}
	record, message := 0, refused.Message
	if m := recordText.FindStringSubmatch(message); m != nil {
		record, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	} else if len(records) > 1 || refused.Status != 400 {
		return errors.New(message)
	}
	return fmt.Errorf("%s:%d: %s", file, records[min(record, len(records)-1)].line, message)
}

// feedbackText tells what became of labels.
func feedbackText(r oip.FeedbackResult) string {
	var b strings.Builder
	row := func(name string, n int, note string) {
		if n > 0 || note == "" {
			fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-11s %8s  %s", name, grouped(n), note), " "))
		}
	}
	row("accepted", r.Accepted, "")
	row("duplicate", r.Duplicate, "had a label before, which stays")
	row("unanswered", r.Unanswered, "of items that failed")
	row("unknown", r.Unknown, "of requests that the server does not know, or no longer")
	const shown = 5
	for i, id := range r.UnknownIDs {
		if i == shown {
			fmt.Fprintln(&b, "            and others")
			break
		}
		fmt.Fprintf(&b, "            %s\n", cut(printable(id), 80))
	}
	return b.String()
}

// openFeedback opens a file, or standard input for "-".
func openFeedback(stdin io.Reader, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(file)
}
