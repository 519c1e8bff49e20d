package daemon

import (
	"errors"
	"fmt"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/pipeline"
)

// Exit codes, as docs/reference/exit-codes.md tells them.
const (
	ExitOK          = 0   // done; of verify: proven
	ExitFailed      = 1   // the command failed; of verify: rows are lost, duplicated or unexpected
	ExitUsage       = 2   // wrong command line or configuration; of verify: not everything could be checked
	ExitSuperseded  = 3   // another configuration is in force: a restart does not help
	ExitHalted      = 4   // of status: a table or partition waits for an operator
	ExitInterrupted = 130 // a second signal ended the process at once
)

// exitError is an error that ends the process with a code of its own.
type exitError struct {
	code int
	err  error // nil: everything was said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// exitCode returns the code that an error ends the process with.
func exitCode(err error) int {
	var own *exitError
	var problems config.Problems
	var superseded *pipeline.Superseded
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &problems):
		return ExitUsage
	case errors.As(err, &superseded):
		return ExitSuperseded
	}
	return ExitFailed
}

// ExitCodesPage returns the reference page of the exit codes, in Markdown.
func ExitCodesPage() string {
	return fmt.Sprintf(`# Exit codes

<!-- Written by go run ./internal/docgen from the code. Do not edit. -->

| Code | Meaning |
|---|---|
| %d | Done. Of `+"`run`"+`: told to stop, and everything that was read is committed. Of `+"`verify`"+`: proven. |
| %d | The command failed; the last line on standard error says why. Of `+"`verify`"+`: rows are lost, duplicated or unexpected. Of `+"`demo`"+`: the same, or it could not run. |
| %d | The command line or the configuration is wrong; nothing was done. Of `+"`verify`"+`: no violation was found, but not everything could be checked. |
| %d | Of `+"`run`"+`: another configuration of the pipeline is in force. Starting again does not help: bring the file up to date, or use `+"`--as-new-revision`"+`. |
| %d | Of `+"`status`"+`: a table or a partition waits for an operator. Its line names the command that decides. |
| %d | A second SIGTERM or SIGINT ended the process at once. Nothing is lost: what was not committed is read again. |
`, ExitOK, ExitFailed, ExitUsage, ExitSuperseded, ExitHalted, ExitInterrupted)
}
