package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/firehosed/firehosed/internal/config"
	"github.com/firehosed/firehosed/pipeline"
)

// problem is a problem of a file as validate --json tells it.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
}

// validateCommand is "validate".
func validateCommand(_ context.Context, c *call) error {
	f, doc, err := load(c.file, c.LookupEnv)
	if err == nil {
		err = f.plans()
	}
	var problems config.Problems
	if c.json && errors.As(err, &problems) {
		out := make([]problem, len(problems))
		for i, p := range problems {
			out[i] = problem{p.File, p.Line, p.Column, p.Path, p.Message}
		}
		if err := json.NewEncoder(c.Stdout).Encode(map[string]any{"valid": false, "problems": out}); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		return &exitError{code: ExitUsage}
	}
	switch {
	case err != nil:
		return err
	case c.print:
		return doc.Print(c.Stdout, f)
	}
	return c.result(map[string]any{"valid": true, "pipelines": len(f.Pipelines)}, func(w io.Writer) {
		say(w, "%s: %d pipeline(s), nothing wrong\n", c.file, len(f.Pipelines))
	})
}

// plans makes sure that steps can be built from the pure part of every pipeline, as
// run does it.
func (f *File) plans() error {
	for name, p := range f.Pipelines {
		so, err := chosenSource(p.Source.component)
		if err != nil {
			return err
		}
		text, err := pureOf(name, &p, so)
		if err == nil {
			_, err = planOf(name, nil, nil, nil, &letterTables{})(pipeline.Revision{Rules: rulesVersion}, text, nil)
		}
		if err != nil {
			return &exitError{ExitUsage, fmt.Errorf("pipelines.%s: %w", name, err)}
		}
	}
	return nil
}
