// Command bosman is all of Bosman: the server, its helpers and the command
// line. This file only says which role runs what.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows and cron must not depend on the host's zones

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/cli"
	"github.com/bosman-cd/bosman/demo"
	"github.com/bosman-cd/bosman/edge"
	"github.com/bosman-cd/bosman/instance/confine"
	"github.com/bosman-cd/bosman/instance/shim"
	"github.com/bosman-cd/bosman/serve"
	"github.com/bosman-cd/bosman/source"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run dispatches the roles that Bosman starts by itself before anything is
// set up, since they must start quickly; all else is the command line's.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	if len(args) > 0 {
		switch args[0] {
		case shim.Subcommand: // owner of an instance's processes
			return shim.Main()
		case confine.Subcommand: // enters the instance's world, then becomes its process
			return confine.Main()
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 2 {
		switch args[0] {
		case "hook": // called by git during a push
			return source.RunHook(ctx, args[1], stdin, stdout, getenv)
		case "edge": // the reverse proxy
			return runEdge(ctx, args[1], stderr)
		}
	}
	return cli.Main(ctx, args, stdin, stdout, stderr, getenv, cli.Roles{Version: serve.Version, Serve: runServe, Demo: runDemo, Doctor: runDoctor, Storage: runStorage, Recover: runRecover})
}

// runEdge runs the reverse proxy with the configuration in a JSON file.
func runEdge(ctx context.Context, file string, stderr io.Writer) int {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	data, err := os.ReadFile(file)
	var cfg edge.Config
	if err == nil {
		err = json.Unmarshal(data, &cfg)
	}
	if err == nil {
		cfg.Log = log
		err = edge.Run(ctx, cfg)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Error("the edge ended", "err", err)
		return 1
	}
	return 0
}

func runDemo(ctx context.Context, o cli.DemoOptions, stdout, stderr io.Writer) error {
	return demo.Run(ctx, demo.Options{
		Data: o.Data, Once: o.Once, Clean: o.Clean, Port: o.Port, BaseDomain: o.BaseDomain, PortPerInst: o.PortPerInst, Stderr: stderr,
	}, stdout)
}

func runServe(ctx context.Context, o cli.ServeOptions, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find our own program: %w", err)
	}
	return serve.Run(ctx, serve.Options{
		Data: o.Data, Listen: o.Listen, BaseDomain: o.BaseDomain, URL: o.URL, PortPerInst: o.PortPerInst, Workers: o.Workers,
		TrustedProxies: o.TrustedProxies, BackupTarget: o.BackupTarget, PointInTime: o.PointInTime, PostgresBin: o.PostgresBin, PostgresClient: o.PostgresClient, CopyQuota: o.CopyQuota, LogLevel: o.LogLevel, Program: self, Stdout: stdout, Stderr: stderr,
	})
}

func runStorage(ctx context.Context, o cli.StorageOptions, stdout io.Writer) error {
	return serve.PrepareStorage(ctx, serve.StorageOptions{
		Data: o.Data, Dir: o.Dir, Size: int64(o.Size), Undo: o.Undo, Ask: o.Ask,
		Say: func(format string, args ...any) error { _, err := fmt.Fprintf(stdout, format, args...); return err },
	})
}

func runDoctor(ctx context.Context, o cli.ServeOptions, stdout io.Writer) error {
	return serve.Doctor(ctx, serve.Options{Data: o.Data, BackupTarget: o.BackupTarget, PointInTime: o.PointInTime, PostgresBin: o.PostgresBin, PostgresClient: o.PostgresClient}, stdout)
}

// runRecover brings a lost Bosman back. The key comes from a file or is asked
// for: never from the command line, where others can read it.
func runRecover(ctx context.Context, o cli.RecoverOptions, stdout io.Writer) error {
	key := o.AskKey
	if o.KeyFile != "" {
		key = func() (string, error) {
			data, err := os.ReadFile(o.KeyFile)
			if err != nil {
				return "", bosman.Invalid("the file with the recovery key cannot be read").Because(err)
			}
			return string(data), nil
		}
	}
	return serve.Recover(ctx, serve.RecoverOptions{Data: o.Data, From: o.From, Key: key, State: o.State, List: o.List, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}, stdout)
}
