// Command firehosed delivers the records of Kafka topics to Apache Iceberg
// tables, exactly once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/firehosed/firehosed/internal/daemon"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals // finish what was begun
		cancel()
		<-signals // not even that
		fmt.Fprintln(os.Stderr, "firehosed: stopped at once; uncommitted records are read again")
		os.Exit(daemon.ExitInterrupted)
	}()
	os.Exit(daemon.Main(ctx, daemon.Process{
		Args:      os.Args[1:],
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Terminal:  isTerminal(os.Stderr),
		LookupEnv: os.LookupEnv,
	}))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
