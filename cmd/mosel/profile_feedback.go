package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/status"
	"github.com/spf13/cobra"
)

// profileFromFeedback writes a profile with accuracies from labelled answers.
func profileFromFeedback(cmd *cobra.Command, m *modelpkg.Model, f profileFlags) error {
	base, err := modelpkg.FindProfileOn(m, f.device, f.providers)
	if err != nil {
		return err
	}
	const suffix = "-feedback"
	if f.name == "" {
		f.name = strings.TrimSuffix(base.Device, suffix) + suffix
	}
	if err := modelpkg.CheckDevice(f.name); err != nil {
		return usageError{err}
	}
	report, err := feedbackReport(cmd.Context(), m, f.feedback)
	if err != nil {
		return err
	}
	p, err := feedback.Profile(m, base, report, f.keep, time.Now())
	if err != nil {
		return err
	}
	p.Device = f.name
	path := m.ProfilePath(p.Device)
	if err := p.Save(path); err != nil {
		return err
	}
	note := cmd.ErrOrStderr()
	fmt.Fprintf(note, "wrote %s; 'mosel serve --device %s' plans by it\n\n", path, p.Device)
	if f.picture != "" {
		if err := drawProfile(m, p, f.picture); err != nil {
			return err
		}
		fmt.Fprintln(note, "wrote", f.picture)
	}
	if err := printProfile(cmd.OutOrStdout(), m, p, f.json); err != nil {
		return err
	}
	for _, v := range p.Variants {
		if v.AccuracyOf == "" && v.Accuracy.Samples < modelpkg.FewSamples {
			fmt.Fprintf(note, "warning: %s has %d labelled items; its accuracy is uncertain below %d\n", v.Name, v.Accuracy.Samples, modelpkg.FewSamples)
		}
	}
	return nil
}

// feedbackReport reads what labels say of a model, from a server or from a file.
func feedbackReport(ctx context.Context, m *modelpkg.Model, from string) (report status.Feedback, err error) {
	if !strings.Contains(from, "://") {
		text, err := os.ReadFile(from)
		if err != nil {
			return report, err
		}
		if err := json.Unmarshal(text, &report); err != nil {
			return report, fmt.Errorf("%s is not the answer of a server to /v2/models/%s/feedback: %w", from, m.Name, err)
		}
		return report, nil
	}
	c, err := newClient(from)
	if err != nil {
		return report, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if report, err = c.FeedbackReport(ctx, m.Name, m.Version); err != nil {
		return report, reportError(from, err)
	}
	return report, nil
}
