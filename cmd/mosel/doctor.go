package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/doctor"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	moselruntime "github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
)

func doctorCommand() *cobra.Command {
	var c doctor.Config
	var json string
	noRun, cfg := false, server.Default(moselruntime.Cores())
	cmd := &cobra.Command{
		Use:   "doctor [MODEL...]",
		Short: "Check whether 'mosel serve' would work on this machine, and say what to fix",
		Long: `Check whether 'mosel serve' would work on this machine with the same flags: the ONNX
Runtime library, the packages and their profiles, the times in the profiles, ports,
the limit on open files, disks and the cache. For everything that is wrong it says what
to do. It changes nothing.

The exit status is 1 if something must be fixed; warnings do not count.`,
		Example: "  mosel doctor\n  mosel doctor --models my-models --addr 0.0.0.0:8000 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.Only = args
			}
			c.ModelsDir = cfg.ModelsDir
			if !cmd.Flags().Changed("models") {
				dir, _, err := servedDir(args)
				if err != nil {
					return err
				}
				c.ModelsDir = dir
			}
			c.Addresses = []doctor.Address{{Flag: "--addr", Address: cfg.Addr}, {Flag: "--grpc-addr", Address: cfg.GRPCAddr}, {Flag: "--metrics-addr", Address: cfg.MetricsAddr}}
			c.Connections, c.Time = cfg.ConnectionsMax, !noRun
			return examine(cmd, c, json)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.ModelsDir, "models", modelsDir, "`directory` of model packages, or one package (if ./models does not exist: the built-in example)")
	f.StringVar(&c.Device, "device", "", "name of the profile to use (default: this machine's, or the only one)")
	f.StringVar(&cfg.Addr, "addr", cfg.Addr, "address for REST")
	f.StringVar(&cfg.GRPCAddr, "grpc-addr", cfg.GRPCAddr, "address for gRPC; empty: no gRPC")
	f.StringVar(&cfg.MetricsAddr, "metrics-addr", cfg.MetricsAddr, "address for Prometheus metrics and health probes; empty: no metrics")
	f.IntVar(&cfg.ConnectionsMax, "connections", cfg.ConnectionsMax, "most open connections, of REST and of gRPC each")
	f.StringVar(&c.JobsDir, "jobs", "", "`directory` for durable jobs; empty: none")
	f.BoolVar(&noRun, "no-run", false, "do not run the graphs to compare their times with the profile")
	addProvidersFlag(cmd, &c.Providers)
	addJSONFlag(f, &json)
	return cmd
}

// examine makes the checks and prints what they found.
func examine(cmd *cobra.Command, c doctor.Config, json string) error {
	c.Cores, c.FilesMax, c.Free = moselruntime.Cores(), doctor.FilesMax(), doctor.Free
	c.Caches, c.Temporary = cachedir.Find("onnxruntime"), os.TempDir()
	c.Open = func(ctx context.Context) (moselruntime.Runtime, string, error) {
		rt, err := server.OpenRuntime(ctx, ort.Config{NoInstall: true}, c.Providers, workerLog(cmd))
		if err != nil {
			return nil, "", err
		}
		has, err := rt.Providers()
		if err != nil {
			return nil, "", errors.Join(err, rt.Close())
		}
		about := fmt.Sprintf("%s %s with providers %s: %s", rt.Name(), rt.Version(), modelpkg.ProviderNames(has), rt.Library().Path)
		return server.InPlace(rt, workerLog(cmd)), about, nil
	}
	report, err := doctor.Run(cmd.Context(), c)
	if err != nil {
		return err
	}
	if err := writeReport(json, cmd.OutOrStdout(), report, func(out io.Writer) error { return printFindings(out, report) }); err != nil {
		return err
	}
	if n := report.Count(doctor.Fail); n > 0 {
		return fmt.Errorf("%s to fix", counted(n, "problem"))
	}
	return nil
}

// printFindings prints a line for each finding, and below it what to do.
func printFindings(out io.Writer, report doctor.Report) error {
	_, screen := terminal(out)
	p := newPage(pageWidthMax, colored(screen))
	styles := map[doctor.State]string{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red}
	for _, f := range report.Checks {
		p.line("%s  %-8s %s: %s", p.styled(styles[f.State], pad(string(f.State), len(doctor.Fail))), f.Check, printable(f.Subject), printable(f.Found))
		if f.Fix != "" {
			p.line("      %s %s", p.styled(bold, "fix:"), f.Fix)
		}
	}
	p.line("")
	p.line("%s, %s to fix", counted(report.Count(doctor.Warn), "warning"), counted(report.Count(doctor.Fail), "problem"))
	_, err := io.WriteString(out, p.b.String())
	return err
}
