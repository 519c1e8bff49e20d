package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// LogConfig says what is logged, and how.
type LogConfig struct {
	// Level is the least severe level that is logged: debug, info, warn or error.
	// Debug tells every commit. Default info.
	Level string `yaml:"level"`
	// Format is text, json, or auto: text on a terminal and JSON elsewhere. Default
	// auto.
	Format string `yaml:"format"`
}

// DefaultLogConfig returns the defaults.
func DefaultLogConfig() LogConfig { return LogConfig{Level: "info", Format: "auto"} }

// Validate returns every problem of the configuration.
func (c LogConfig) Validate() error {
	var errs []error
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	switch c.Format {
	case "auto", "text", "json":
	default:
		errs = append(errs, fmt.Errorf("format: %q is neither auto, text nor json", c.Format))
	}
	return errors.Join(errs...)
}

func (c LogConfig) level() (l slog.Level, err error) {
	switch strings.ToLower(c.Level) {
	case "debug":
		l = slog.LevelDebug
	case "info":
		l = slog.LevelInfo
	case "warn", "warning":
		l = slog.LevelWarn
	case "error":
		l = slog.LevelError
	default:
		err = fmt.Errorf("level: %q is neither debug, info, warn nor error", c.Level)
	}
	return l, err
}

// NewLogger returns a logger that writes to w. Errors are written as their text,
// and a warning that repeats itself once a minute.
func NewLogger(w io.Writer, c LogConfig, terminal bool) (*slog.Logger, error) {
	level, err := c.level()
	if err != nil {
		return nil, err
	}
	isText := c.Format == "text" || c.Format == "auto" && terminal
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch {
		case isText && a.Key == slog.TimeKey && len(groups) == 0: // people on a terminal know the day
			return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
		case a.Value.Kind() == slog.KindDuration:
			return slog.String(a.Key, a.Value.Duration().String())
		}
		return a
	}}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if isText {
		h = slog.NewTextHandler(w, opts)
	}
	return slog.New(newRepeats(h, time.Now)), nil
}
