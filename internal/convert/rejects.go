package convert

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/firehosed/firehosed/schema"
)

// Rejected is a line of the file of rejects.
type Rejected struct {
	File    string `json:"file"`
	Line    int64  `json:"line"`                     // from 1
	Sub     int32  `json:"sub,omitempty"`            // number of the value within the line
	Code    string `json:"code"`                     // one of package schema
	Message string `json:"message"`                  //
	Path    string `json:"path,omitempty"`           // JSON pointer to where
	Payload string `json:"payload,omitempty"`        // the value as it came
	Bytes   []byte `json:"payload_base64,omitempty"` // the same, where it is no text
}

// rejects collects what is no row.
type rejects struct {
	out   *output // nil: they are an error
	enc   *json.Encoder
	error RejectsError
}

func newRejects(name string) (*rejects, error) {
	r := &rejects{}
	if name == "" {
		return r, nil
	}
	out, err := create(name, nil)
	if err != nil {
		return nil, err
	}
	r.out, r.enc = out, json.NewEncoder(out)
	r.enc.SetEscapeHTML(false)
	return r, nil
}

func (r *rejects) add(file string, line int64, j *schema.Reject) error {
	if r.out == nil {
		if r.error.Count++; len(r.error.First) < shownErrors {
			r.error.First = append(r.error.First, fmt.Sprintf("%s:%d: %s: %s", file, line, j.Code, j.Message))
		}
		return nil
	}
	e := Rejected{File: file, Line: line, Sub: j.Sub, Code: j.Code, Message: j.Message, Path: j.Path}
	if utf8.Valid(j.Payload) {
		e.Payload = string(j.Payload)
	} else {
		e.Bytes = j.Payload
	}
	return r.enc.Encode(&e)
}

// err returns an error if there are rejects and no file for them.
func (r *rejects) err() error {
	if r.error.Count == 0 {
		return nil
	}
	return &r.error
}

func (r *rejects) commit() error {
	if r.out == nil {
		return nil
	}
	out := r.out
	r.out = nil
	return out.commit()
}

func (r *rejects) abort() {
	if r != nil && r.out != nil {
		r.out.abort()
		r.out = nil
	}
}
