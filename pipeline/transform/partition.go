package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// MetadataExtractionFailed is the errorCode of Firehose for records whose partition
// keys cannot be extracted.
const MetadataExtractionFailed = "DynamicPartitioning.MetadataExtractionFailed"

const (
	maxKeys  = 50   // partition keys of a stream
	maxQuery = 5120 // characters of a processor's parameter

	// maxSteps bounds the work for all keys of a record. A step is an instruction of
	// the query, a value that is looked at, or 64 bytes of text in one.
	maxSteps = 100_000

	maxKeyBytes = 1024 // of a value: an S3 key has no more
)

// PartitionKeys evaluates what records are partitioned by. One goroutine uses it.
type PartitionKeys struct {
	names []string
	codes []*gojq.Code
	paths [][]string // of the queries, if all of them only go down objects
	plain int        // bytes of a record that is looked into; 0: they do more
	meter *meter
}

// NewPartitionKeys compiles a query of jq, an object with a member for each key, such
// as {customer_id: .customer_id, year: .event_timestamp | strftime("%Y")}. Firehose's
// MetadataExtractionQuery. It has at most 5120 characters and 50 keys.
//
// The language is that of jq 1.6 without what could make two readings differ or grow
// without bound: no clock, no environment, no input, and no def, reduce, foreach,
// label, recursion, assignments and ranges. Arithmetic other than + takes numbers,
// patterns of regular expressions and of dates, replacements and bounds of slices are
// written out. The error names what is refused.
func NewPartitionKeys(query string) (*PartitionKeys, error) {
	if strings.TrimSpace(query) == "" || utf8.RuneCountInString(query) > maxQuery {
		return nil, fmt.Errorf("query: it has %d characters: write 1 to %d, such as {customer_id: .customer_id}", utf8.RuneCountInString(query), maxQuery)
	}
	q, err := gojq.Parse(query)
	if err != nil {
		return nil, fmt.Errorf("query: %q is not jq: %w", query, err)
	}
	members, err := queryMembers(q)
	if err != nil {
		return nil, fmt.Errorf("query: %q: %w", query, err)
	}
	k := &PartitionKeys{meter: &meter{}}
	k.goDown(members)
	for _, m := range members {
		code, err := k.compile(m.value)
		if err != nil {
			return nil, fmt.Errorf("query: key %q: %w", m.name, err)
		}
		k.names, k.codes = append(k.names, m.name), append(k.codes, code)
	}
	return k, nil
}

type member struct {
	name  string
	value *gojq.Query
}

// queryMembers returns the members of an object whose keys are written out.
func queryMembers(q *gojq.Query) (ms []member, err error) {
	if q.Term == nil || q.Term.Type != gojq.TermTypeObject || len(q.Term.SuffixList) > 0 || len(q.FuncDefs) > 0 || q.Meta != nil || len(q.Imports) > 0 {
		return nil, errors.New("write one object, such as {customer_id: .customer_id}")
	}
	for _, kv := range q.Term.Object.KeyVals {
		m := member{name: kv.Key, value: kv.Val}
		if kv.KeyString != nil && kv.KeyString.Queries == nil {
			m.name = kv.KeyString.Str
		}
		switch {
		case kv.KeyQuery != nil || kv.KeyString != nil && kv.KeyString.Queries != nil || strings.HasPrefix(m.name, "$") || strings.HasPrefix(m.name, "@"):
			return nil, fmt.Errorf("the key %s is computed: write the name of the partition key", kv)
		case m.name == "" || strings.ContainsAny(m.name, "{}"):
			return nil, fmt.Errorf("the key %q is no name: a prefix has to name it, as in !{partitionKeyFromQuery:name}", m.name)
		case slices.ContainsFunc(ms, func(o member) bool { return o.name == m.name }):
			return nil, fmt.Errorf("the key %q comes twice", m.name)
		}
		if m.value == nil { // {a} is {a: .a}
			m.value = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIndex, Index: &gojq.Index{Str: &gojq.String{Str: m.name}}}}
		}
		ms = append(ms, m)
	}
	if len(ms) == 0 || len(ms) > maxKeys {
		return nil, fmt.Errorf("it has %d keys: write 1 to %d", len(ms), maxKeys)
	}
	return ms, nil
}

// compile checks and guards a query, so that the work of its values is counted.
func (k *PartitionKeys) compile(q *gojq.Query) (*gojq.Code, error) {
	if err := guard(q); err != nil {
		return nil, err
	}
	return gojq.Compile(q,
		gojq.WithFunction(costName, 0, 0, func(v any, _ []any) any {
			k.meter.look(v)
			return v
		}),
		gojq.WithFunction(numberName, 0, 0, func(v any, _ []any) any { return number(v) }),
		gojq.WithFunction(shortName, 0, 0, func(v any, _ []any) any { return short(v) }),
	)
}

// Names returns the names of the keys in the order of the query. The caller must not
// change them.
func (k *PartitionKeys) Names() []string { return k.names }

// Extract appends the values of the keys for a record to dst, in the order of
// [PartitionKeys.Names]. They are texts as they are, and numbers and booleans as jq
// prints them. The error says why the record has none: it is not one JSON value, a key
// has no value or several, null, an empty text, more than 1024 bytes, an array or
// object, or takes more than 100,000 steps. It depends on the record alone.
func (k *PartitionKeys) Extract(dst []string, record []byte) ([]string, error) {
	if out, ok := k.look(dst, record); ok {
		return out, nil
	}
	in, err := parseRecord(record)
	if err != nil {
		return nil, err
	}
	k.meter.used = 0
	for i, code := range k.codes {
		v, err := k.one(code, in)
		if err == nil {
			var s string
			if s, err = keyText(v); err == nil {
				dst = append(dst, s)
				continue
			}
		}
		return nil, fmt.Errorf("partition key %q %w", k.names[i], err)
	}
	return dst, nil
}

// goDown notes where the values are if all queries only go down objects. A step of a path
// costs a query as many steps as what it looks at has values, so records are bounded by
// what no query would be too long for.
func (k *PartitionKeys) goDown(members []member) {
	var paths [][]string
	steps := 0
	for _, m := range members {
		path := pathOf(m.value)
		if path == nil {
			return
		}
		paths, steps = append(paths, path), steps+len(path)+1
	}
	k.paths, k.plain = paths, maxSteps/steps
}

// look takes the values out of a record without parsing all of it. false: the queries have
// to say what there is.
func (k *PartitionKeys) look(dst []string, record []byte) ([]string, bool) {
	if len(record) > k.plain || !utf8.Valid(record) || !json.Valid(record) {
		return nil, false
	}
	for _, path := range k.paths {
		text, ok := at(record, path)
		if !ok || text[0] == '{' || text[0] == '[' {
			return nil, false
		}
		v, err := parseRecord(text)
		if err != nil {
			return nil, false
		}
		s, err := keyText(v)
		if err != nil {
			return nil, false
		}
		dst = append(dst, s)
	}
	return dst, true
}

// one returns the one output of a query.
func (k *PartitionKeys) one(code *gojq.Code, in any) (any, error) {
	it := code.RunWithContext(k.meter, in)
	v, ok := it.Next()
	if !ok {
		return nil, errors.New("has no value")
	}
	if err, failed := v.(error); failed {
		return nil, queryError(err)
	}
	second, more := it.Next()
	if !more {
		return v, nil
	}
	if err, failed := second.(error); failed {
		return nil, queryError(err)
	}
	return nil, errors.New("has several values")
}

func queryError(err error) error {
	if errors.Is(err, errSteps) {
		return err
	}
	return fmt.Errorf("cannot be evaluated: %w", cut{err})
}

// cut bounds the text of an error that may quote the record.
type cut struct{ error }

func (c cut) Error() string {
	s := c.error.Error()
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// parseRecord reads one JSON value. Integers stay exact, whatever their size.
func parseRecord(record []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(record))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errors.New("the record is not JSON, partition keys need it")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("the record is not one JSON value: take records of several apart before they are partitioned")
	}
	return exact(v), nil
}

// exact replaces the text of numbers by what gojq reckons with.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.Atoi(string(v)); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil && (math.Trunc(f) != f || strings.ContainsAny(string(v), ".eE")) {
			return f
		}
		if len(v) <= maxDigits {
			if i, ok := new(big.Int).SetString(string(v), 10); ok {
				return i
			}
		}
		f, _ := v.Float64() // infinite: jq prints the largest double
		return max(-math.MaxFloat64, min(math.MaxFloat64, f))
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = exact(v[key])
		}
	}
	return v
}

// keyText returns the text of a scalar.
func keyText(v any) (string, error) {
	var s string
	switch v := exact(v).(type) {
	case nil:
		return "", errors.New("is null")
	case string:
		s = v
	case []any, map[string]any:
		return "", fmt.Errorf("is an %s, not a text, number or boolean", gojq.TypeOf(v))
	default:
		b, err := gojq.Marshal(v)
		if err != nil {
			return "", err
		}
		s = string(b)
	}
	switch {
	case s == "":
		return "", errors.New("is empty")
	case len(s) > maxKeyBytes:
		return "", fmt.Errorf("has %d bytes, at most %d are allowed", len(s), maxKeyBytes)
	}
	return s, nil
}

var errSteps = fmt.Errorf("takes more than %d steps", maxSteps)

// meter counts steps. gojq asks a context before each instruction whether it is done:
// that is how instructions are counted, and how a query ends that no try can catch.
type meter struct {
	context.Context
	used int
}

var done = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (m *meter) Done() <-chan struct{} {
	if m.used++; m.used > maxSteps {
		return done
	}
	return nil
}

func (m *meter) Err() error { return errSteps }

// look counts a value and all in it. A value whose parts are shared is counted as
// often as it would be printed.
func (m *meter) look(v any) {
	if m.used > maxSteps {
		return
	}
	m.used++
	switch v := v.(type) {
	case string:
		m.used += len(v) / 64
	case json.Number:
		m.used += len(v) / 64
	case *big.Int:
		m.used += v.BitLen() / 64
	case []any:
		for _, e := range v {
			m.look(e)
		}
	case map[string]any: // the sum does not depend on the order, and going over it is for good
		for key, e := range v {
			m.used += len(key) / 64
			m.look(e)
		}
	}
}

// maxBits bounds integers, so that products do not grow for ever.
const (
	maxBits   = 1024
	maxDigits = 308
)

// number lets numbers of a bounded size through.
func number(v any) any {
	switch v := v.(type) {
	case int, float64:
		return v
	case json.Number:
		return exact(v)
	case *big.Int:
		if v.BitLen() <= maxBits {
			return v
		}
		return errors.New("a number has more than 1024 bits")
	}
	return fmt.Errorf("%s is no number", gojq.Preview(v))
}

// maxShort is the longest text for regular expressions: they take its square.
const maxShort = 4096

func short(v any) any {
	if s, ok := v.(string); ok && len(s) > maxShort {
		return fmt.Errorf("a text of %d bytes is too long for a regular expression, at most %d are allowed", len(s), maxShort)
	}
	return v
}
