package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/internal/telemetry"
)

// Process is what a command needs of the operating system.
type Process struct {
	Args           []string // without the name of the program
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool // Stderr is a terminal
	LookupEnv      func(string) (string, bool)
}

// command is one command of the program.
type command struct {
	name  string   // one or two words
	args  []string // names of its arguments, all required; the first may end in "...": there may be more of it
	short string   // one line for the list of commands
	long  string   // the rest of its help
	flags func(fs *flag.FlagSet, o *options)
	run   func(ctx context.Context, c *call) error
}

// options holds the flags of all commands; each reads its own.
type options struct {
	file, pipeline      string
	json                bool
	logLevel, logFormat string
	asNewRevision       int64
	print               bool
	replay, skip        bool
	values              bool
	tables              []string
	from                string
	demo                struct {
		dir            string
		records, kills int
	}
	convert struct {
		schema, rejects, codec string
		level                  int
		rowGroup               int64
		noDelta, pageIndex     bool
		pageVersion            int
		bloom                  string
	}
}

// call is one use of a command.
type call struct {
	Process
	options
	args    []string
	started time.Time // of the command
}

// Main runs the command that p names and returns the exit code. When ctx ends, it
// finishes what it began and returns.
func Main(ctx context.Context, p Process) int {
	err := dispatch(ctx, p)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		var own *exitError
		if !errors.As(err, &own) || own.err != nil {
			complain(p, err)
		}
		return exitCode(err)
	}
	return ExitOK
}

// complain writes an error for people: one line each for the problems of a file.
func complain(p Process, err error) {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for _, one := range problems {
			say(p.Stderr, "%s\n", one.Error())
		}
		return
	}
	for _, one := range unjoin(err) {
		say(p.Stderr, "firehosed: %v\n", one)
	}
}

func dispatch(ctx context.Context, p Process) error {
	if len(p.Args) == 0 {
		usage(p.Stderr)
		return &exitError{code: ExitUsage}
	}
	switch p.Args[0] {
	case "help", "-h", "-help", "--help":
		if cmd, _ := find(p.Args[1:]); cmd != nil {
			return cmd.help(p.Stdout)
		}
		if len(p.Args) > 1 {
			return unknown(p.Args[1:])
		}
		usage(p.Stdout)
		return nil
	case "-version", "--version":
		p.Args = []string{"version"}
	}
	cmd, rest := find(p.Args)
	if cmd == nil {
		return unknown(p.Args)
	}
	c := &call{Process: p, started: time.Now()}
	if err := c.parse(cmd, rest); err != nil {
		return err
	}
	return cmd.run(ctx, c)
}

// find returns the command that args begin with, and the arguments after it.
func find(args []string) (*command, []string) {
	for _, cmd := range commands() {
		words := strings.Fields(cmd.name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return &cmd, args[len(words):]
		}
	}
	return nil, nil
}

func unknown(args []string) error {
	var names, below []string
	for _, cmd := range commands() {
		names = append(names, cmd.name)
		if group, _, ok := strings.Cut(cmd.name, " "); ok && group == args[0] {
			below = append(below, cmd.name)
		}
	}
	typed := strings.Join(args[:min(2, len(args))], " ")
	switch suggestion := config.Suggest(typed, names); {
	case len(below) > 0 && (suggestion == "" || len(args) == 1):
		return usagef("%q wants one of: %s", args[0], strings.Join(below, ", "))
	case suggestion == "" || !strings.Contains(suggestion, " "):
		for _, name := range names { // the second word of one
			if _, second, ok := strings.Cut(name, " "); ok && second == args[0] {
				return usagef("unknown command %q; did you mean %q?", typed, name)
			}
		}
		if suggestion = config.Suggest(args[0], names); suggestion == "" {
			return usagef("unknown command %q; firehosed help lists all", args[0])
		}
		fallthrough
	default:
		return usagef("unknown command %q; did you mean %q?", typed, suggestion)
	}
}

// parse reads flags and arguments, in any order.
func (c *call) parse(cmd *command, args []string) error {
	fs := cmd.flagSet(&c.options)
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			_ = cmd.help(c.Stdout)
			return err
		} else if err != nil {
			return usagef("%s: %w; firehosed help %s tells the flags", cmd.name, err, cmd.name)
		}
		if fs.NArg() == 0 {
			break
		}
		c.args = append(c.args, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if n := len(c.args); n < len(cmd.args) || n > len(cmd.args) && !cmd.variadic() {
		return usagef("%s wants %s", cmd.name, cmd.wants(len(c.args)))
	}
	return nil
}

// variadic tells whether there may be more arguments than are named.
func (cmd *command) variadic() bool {
	return len(cmd.args) > 0 && strings.HasSuffix(cmd.args[0], "...")
}

func (cmd *command) wants(got int) string {
	switch {
	case len(cmd.args) == 0:
		return "no arguments"
	case cmd.variadic():
		return fmt.Sprintf("%d arguments or more, %s; %d given", len(cmd.args), strings.Join(cmd.args, " "), got)
	}
	return fmt.Sprintf("%d argument(s), %s; %d given", len(cmd.args), strings.Join(cmd.args, " "), got)
}

func (cmd *command) flagSet(o *options) *flag.FlagSet {
	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	if cmd.flags != nil {
		cmd.flags(fs, o)
	}
	return fs
}

func usage(w io.Writer) {
	say(w, `firehosed delivers the records of Kafka topics and Kinesis streams to Apache Iceberg tables
and objects in S3, exactly once.

Usage: firehosed COMMAND [FLAGS] [ARGUMENTS]

Commands:
`)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, cmd := range commands() {
		say(tw, "  %s\t%s\n", strings.TrimSpace(cmd.name+" "+strings.Join(cmd.args, " ")), cmd.short)
	}
	_ = tw.Flush()
	say(w, "\nfirehosed help COMMAND tells its flags. Exit codes: 0 done, 1 failed, 2 wrong usage or\n"+
		"configuration, 3 superseded by another configuration, 4 an operator is needed.\n")
}

func (cmd *command) help(w io.Writer) error {
	say(w, "Usage: firehosed %s [FLAGS]\n\n%s\n", strings.TrimSpace(cmd.name+" "+strings.Join(cmd.args, " ")), cmd.short)
	if cmd.long != "" {
		say(w, "\n%s\n", strings.TrimSpace(cmd.long))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	say(tw, "\nFlags:\n")
	cmd.flagSet(&options{}).VisitAll(func(f *flag.Flag) {
		dash, def := "--", ""
		if len(f.Name) == 1 {
			dash = "-"
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			def = " (default " + f.DefValue + ")"
		}
		name, text := flag.UnquoteUsage(f)
		say(tw, "  %s%s %s\t%s%s\n", dash, f.Name, name, text, def)
	})
	return tw.Flush()
}

// say writes to people. Where nobody listens any more, there is nothing to be done.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// Flags that several commands share.

// defaultFile is the configuration that commands look for.
const defaultFile = "firehosed.yaml"

func fileFlag(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.file, "c", defaultFile, "the configuration `FILE`")
}

func jsonFlag(fs *flag.FlagSet, o *options) {
	fs.BoolVar(&o.json, "json", false, "write JSON for programs")
}

func logFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.logLevel, "log-level", "", "`LEVEL` to log at: debug, info, warn or error; overrules the file")
	fs.StringVar(&o.logFormat, "log-format", "", "`FORMAT` of the log: text, json or auto; overrules the file")
}

// operatorFlags are those of commands that work on one pipeline of a file.
func operatorFlags(fs *flag.FlagSet, o *options) {
	fileFlag(fs, o)
	fs.StringVar(&o.pipeline, "p", "", "the `PIPELINE`; may be left out if the file has only one")
	jsonFlag(fs, o)
	logFlags(fs, o)
}

// logger returns the log of the command. Flags overrule the file.
func (c *call) logger(cfg telemetry.LogConfig) (*slog.Logger, error) {
	if c.logLevel != "" {
		cfg.Level = c.logLevel
	}
	if c.logFormat != "" {
		cfg.Format = c.logFormat
	}
	if err := cfg.Validate(); err != nil {
		return nil, usagef("--log-%w", err)
	}
	return telemetry.NewLogger(c.Stderr, cfg, c.Terminal)
}

// result writes what a command found: v as JSON if asked for, else text.
func (c *call) result(v any, text func(w io.Writer)) error {
	if !c.json {
		text(c.Stdout)
		return nil
	}
	enc := json.NewEncoder(c.Stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
