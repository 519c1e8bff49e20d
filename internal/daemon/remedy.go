package daemon

import (
	"context"
	"log/slog"
	"regexp"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
)

// commandLine makes the commands that messages name ones that can be pasted: it
// adds the file, unless that has the name that commands look for, and the pipeline,
// if the file has several.
type commandLine struct{ flags string }

func (f *File) commandLine(name string) commandLine {
	var flags []string
	if f.path != defaultFile && f.path != "" {
		flags = append(flags, "-c", shellWord(f.path))
	}
	if len(f.Pipelines) > 1 {
		flags = append(flags, "-p", name)
	}
	return commandLine{strings.Join(flags, " ")}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=~-]+$`)

// shellWord quotes a word for a shell, if it has to be.
func shellWord(s string) string {
	if plainWord.MatchString(s) && s[0] != '~' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// namedCommand matches a command for one pipeline in a message.
var namedCommand = regexp.MustCompile(`\bfirehosed (?:table (?:resume|rebind|forfeit)|offsets (?:skip|accept-gap|accept-incarnation)|control rebuild|status|verify)\b`)

// complete returns the text with its commands completed.
func (l commandLine) complete(text string) string {
	if l.flags == "" {
		return text
	}
	return namedCommand.ReplaceAllString(text, "$0 "+strings.ReplaceAll(l.flags, "$", "$$"))
}

func (l commandLine) halt(h *pipeline.Halt) *pipeline.Halt {
	if h == nil {
		return nil
	}
	return &pipeline.Halt{Class: h.Class, Detail: l.complete(h.Detail), Remedy: l.complete(h.Remedy)}
}

// err returns the error with the commands in its text completed.
func (l commandLine) err(err error) error {
	if err == nil || l.complete(err.Error()) == err.Error() {
		return err
	}
	return &completed{err, l.complete(err.Error())}
}

// completed is an error whose text names whole commands.
type completed struct {
	error
	text string
}

func (c *completed) Error() string { return c.text }
func (c *completed) Unwrap() error { return c.error }

// operated is a pipeline whose status names whole commands.
type operated struct {
	*pipeline.Pipeline
	line commandLine
}

// Status implements admin.Pipeline.
func (o operated) Status() pipeline.Status {
	st := o.Pipeline.Status()
	for i := range st.Tables {
		st.Tables[i].Halt, st.Tables[i].Down = o.line.halt(st.Tables[i].Halt), o.line.complete(st.Tables[i].Down)
	}
	for i := range st.Lanes {
		st.Lanes[i].Halt, st.Lanes[i].Err = o.line.halt(st.Lanes[i].Halt), o.line.complete(st.Lanes[i].Err)
	}
	return st
}

// logger returns a log whose errors name whole commands.
func (l commandLine) logger(log *slog.Logger) *slog.Logger {
	if l.flags == "" {
		return log
	}
	return slog.New(completingHandler{log.Handler(), l})
}

type completingHandler struct {
	slog.Handler
	line commandLine
}

// Handle implements slog.Handler.
func (h completingHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.AnyValue(h.line.err(err))
		}
		out.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (h completingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return completingHandler{h.Handler.WithAttrs(attrs), h.line}
}

// WithGroup implements slog.Handler.
func (h completingHandler) WithGroup(name string) slog.Handler {
	return completingHandler{h.Handler.WithGroup(name), h.line}
}
