package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// Functions that guarded queries call; no query can name them.
const (
	costName   = "_firehosed_cost"   // counts its input
	numberName = "_firehosed_number" // lets numbers through
	shortName  = "_firehosed_short"  // lets short texts through
)

// use says how a function may be used.
type use int

const (
	free    use = iota // it takes one step or evaluates its arguments
	counted            // input and arguments are counted before it runs
	written            // the input is counted, the arguments are written out
	pattern            // and the input is short
)

// functions are those that a query may call, by name and number of arguments. None
// tells the time, reads anything but its input, or runs long on little input.
var functions = map[string]use{
	"not/0": free, "empty/0": free, "error/0": free, "error/1": free, "select/1": free, "map/1": free, "type/0": free, "has/1": free,
	"first/0": free, "first/1": free, "last/0": free, "last/1": free, "any/0": free, "any/1": free, "any/2": free, "all/0": free, "all/1": free, "all/2": free,
	"isempty/1": free, "values/0": free, "nulls/0": free, "strings/0": free, "numbers/0": free, "booleans/0": free, "arrays/0": free, "objects/0": free,
	"scalars/0": free, "floor/0": free, "ceil/0": free, "round/0": free, "trunc/0": free, "fabs/0": free, "abs/0": free, "sqrt/0": free, "isnan/0": free,
	"isinfinite/0": free, "gmtime/0": free, "mktime/0": free,

	"length/0": counted, "utf8bytelength/0": counted, "keys/0": counted, "to_entries/0": counted, "add/0": counted, "tostring/0": counted,
	"tonumber/0": counted, "tojson/0": counted, "fromjson/0": counted, "ascii_downcase/0": counted, "ascii_upcase/0": counted, "ltrimstr/1": counted,
	"rtrimstr/1": counted, "trim/0": counted, "ltrim/0": counted, "rtrim/0": counted, "startswith/1": counted, "endswith/1": counted, "split/1": counted,
	"min/0": counted, "max/0": counted, "sort/0": counted, "unique/0": counted, "reverse/0": counted, "todate/0": counted, "fromdate/0": counted,
	"todateiso8601/0": counted, "fromdateiso8601/0": counted,

	"join/1": written, "strftime/1": written, "strptime/1": written,

	"test/1": pattern, "test/2": pattern, "capture/1": pattern, "capture/2": pattern, "sub/2": pattern, "sub/3": pattern, "gsub/2": pattern, "gsub/3": pattern,
}

var formats = []string{"@text", "@json", "@csv", "@tsv", "@html", "@uri", "@sh", "@base64", "@base64d"}

// maxLiteral is the longest text that is written out for a pattern or replacement.
const maxLiteral = 128

// guard refuses what a query must not do, and puts functions into it that count what
// could be large.
func guard(q *gojq.Query) error {
	if q == nil {
		return nil
	}
	if len(q.FuncDefs) > 0 {
		return refuse("def")
	}
	if len(q.Imports) > 0 || q.Meta != nil {
		return refuse("import")
	}
	if q.Term != nil {
		return guardTerm(q)
	}
	for _, p := range q.Patterns {
		if err := guardBinding(p); err != nil {
			return err
		}
	}
	if err := firstOf(guard(q.Left), guard(q.Right)); err != nil {
		return err
	}
	switch q.Op {
	case gojq.OpPipe, gojq.OpComma, gojq.OpAnd, gojq.OpOr, gojq.OpAlt:
	case gojq.OpAdd, gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe:
		q.Left, q.Right = then(q.Left, costName), then(q.Right, costName)
	case gojq.OpSub, gojq.OpMul, gojq.OpDiv, gojq.OpMod:
		q.Left, q.Right = then(q.Left, numberName), then(q.Right, numberName)
	default:
		return refuse(q.Op.String())
	}
	return nil
}

func refuse(what string) error {
	return fmt.Errorf("%s is not allowed in partition keys: it could differ from one reading to the next, or run without end", what)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// then returns q | name.
func then(q *gojq.Query, name string) *gojq.Query { return pipe(q, call(name)) }

func pipe(l, r *gojq.Query) *gojq.Query { return &gojq.Query{Op: gojq.OpPipe, Left: l, Right: r} }

func call(name string) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name}}}
}

// guardBinding checks the pattern of an as, or of a destructuring.
func guardBinding(p *gojq.Pattern) error {
	if p == nil {
		return nil
	}
	for _, e := range p.Array {
		if err := guardBinding(e); err != nil {
			return err
		}
	}
	for _, e := range p.Object {
		if err := firstOf(guardString(e.KeyString), guard(e.KeyQuery), guardBinding(e.Val)); err != nil {
			return err
		}
	}
	return nil
}

// guardTerm checks a term. It may make a pipe of q.
func guardTerm(q *gojq.Query) error {
	t := q.Term
	sized, err := guardHead(t)
	if err != nil {
		return err
	}
	for _, s := range t.SuffixList {
		if err := guardIndex(s.Index); err != nil {
			return err
		}
	}
	if err := guardIndex(t.Index); err != nil {
		return err
	}
	if err := splitSlices(q); err != nil {
		return err
	}
	if sized != free { // the term's input is the query's: what it is applied to
		body := *q
		*q = *pipe(call(costName), &body)
		if sized == pattern {
			body := *q
			*q = *pipe(call(shortName), &body)
		}
	}
	return nil
}

// guardHead checks a term without its suffixes, and says how it uses its input.
func guardHead(t *gojq.Term) (use, error) {
	switch t.Type {
	case gojq.TermTypeIdentity, gojq.TermTypeIndex, gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
		return free, nil
	case gojq.TermTypeFunc:
		return guardFunc(t.Func)
	case gojq.TermTypeObject:
		return free, guardObject(t)
	case gojq.TermTypeArray:
		err := guard(t.Array.Query)
		if t.Array.Query != nil {
			inner := *t
			inner.SuffixList = nil
			*t = gojq.Term{Type: gojq.TermTypeQuery, Query: then(&gojq.Query{Term: &inner}, costName), SuffixList: t.SuffixList}
		}
		return free, err
	case gojq.TermTypeUnary:
		inner := &gojq.Query{Term: t.Unary.Term}
		err := guard(inner)
		t.Unary.Term = &gojq.Term{Type: gojq.TermTypeQuery, Query: then(inner, numberName)}
		return free, err
	case gojq.TermTypeFormat:
		if !slices.Contains(formats, t.Format) {
			return free, refuse(t.Format)
		}
		if t.Str != nil {
			return free, guardString(t.Str)
		}
		return counted, nil
	case gojq.TermTypeString:
		return free, guardString(t.Str)
	case gojq.TermTypeIf:
		err := firstOf(guard(t.If.Cond), guard(t.If.Then), guard(t.If.Else))
		for _, e := range t.If.Elif {
			err = firstOf(err, guard(e.Cond), guard(e.Then))
		}
		return free, err
	case gojq.TermTypeTry:
		return free, firstOf(guard(t.Try.Body), guard(t.Try.Catch))
	case gojq.TermTypeQuery:
		return free, guard(t.Query)
	}
	return free, refuse(termName(t))
}

func termName(t *gojq.Term) string {
	s, _, _ := strings.Cut(t.String(), " ")
	return s
}

func guardFunc(f *gojq.Func) (use, error) {
	if strings.HasPrefix(f.Name, "$") {
		if f.Name == "$ENV" || f.Name == "$__loc__" {
			return free, refuse(f.Name)
		}
		return free, nil
	}
	name := fmt.Sprintf("%s/%d", f.Name, len(f.Args))
	how, ok := functions[name]
	if !ok {
		return free, refuse(name)
	}
	for i, a := range f.Args {
		if how >= written {
			s, ok := literal(a)
			if !ok || len(s) > maxLiteral {
				return free, fmt.Errorf("%s: its arguments have to be written out, as texts of at most %d bytes", name, maxLiteral)
			}
			if f.Name == "strptime" {
				if d := badDirective(s); d != "" {
					return free, fmt.Errorf("strptime/1: %s in %q is not allowed in partition keys: its directives are %s", d, s, directives)
				}
			}
			continue
		}
		if err := guard(a); err != nil {
			return free, err
		}
		if how == counted {
			f.Args[i] = then(a, costName)
		}
	}
	return how, nil
}

// directives are those of a date that strptime may read. %Z is none: names of zones
// mean what the machine's own zone makes of them.
const directives = "%YymdejHIMSfpaAbBhDFTRzsnt%"

// badDirective returns the first directive of a format that is not allowed.
func badDirective(format string) string {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		if i++; i == len(format) || !strings.Contains(directives, format[i:i+1]) {
			return format[i-1 : min(i+1, len(format))]
		}
	}
	return ""
}

// literal returns the text that a query is.
func literal(q *gojq.Query) (string, bool) {
	if q.Term == nil || q.Term.Type != gojq.TermTypeString || len(q.Term.SuffixList) > 0 || len(q.FuncDefs) > 0 || q.Term.Str.Queries != nil {
		return "", false
	}
	return q.Term.Str.Str, true
}

func guardObject(t *gojq.Term) error {
	for _, kv := range t.Object.KeyVals {
		if err := firstOf(guardString(kv.KeyString), guard(kv.KeyQuery), guard(kv.Val)); err != nil {
			return err
		}
		if kv.Key == "$ENV" || kv.Key == "$__loc__" {
			return refuse(kv.Key)
		}
	}
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: then(&gojq.Query{Term: &inner}, costName), SuffixList: t.SuffixList}
	return nil
}

// guardString counts what is put into a text.
func guardString(s *gojq.String) error {
	if s == nil {
		return nil
	}
	for i, q := range s.Queries {
		if q.Term != nil && q.Term.Type == gojq.TermTypeString && q.Term.Str.Queries == nil {
			continue // the text between
		}
		if err := guard(q); err != nil {
			return err
		}
		s.Queries[i] = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeQuery, Query: then(q, costName)}}
	}
	return nil
}

func guardIndex(x *gojq.Index) error {
	if x == nil {
		return nil
	}
	if x.IsSlice && (!numeral(x.Start) || !numeral(x.End)) {
		return fmt.Errorf("the bounds of the slice %s have to be numbers that are written out", x)
	}
	if x.IsSlice || x.Start != nil && numeral(x.Start) {
		return nil
	}
	return firstOf(guardString(x.Str), guard(x.Start))
}

// numeral tells whether a bound is absent or a number.
func numeral(q *gojq.Query) bool {
	if q == nil {
		return true
	}
	t := q.Term
	if t != nil && t.Type == gojq.TermTypeUnary && len(t.SuffixList) == 0 {
		t = t.Unary.Term
	}
	return t != nil && t.Type == gojq.TermTypeNumber && len(t.SuffixList) == 0
}

// splitSlices counts what is sliced: a.b[1:2].c becomes a.b | cost | .[1:2].c, which
// is the same as bounds and names do not look at the input.
func splitSlices(q *gojq.Query) error {
	t := q.Term
	for i, s := range t.SuffixList {
		if s.Index == nil || !s.Index.IsSlice {
			continue
		}
		for _, later := range t.SuffixList[i:] {
			if x := later.Index; x != nil && !x.IsSlice && x.Start != nil && !numeral(x.Start) {
				return fmt.Errorf("the index %s after a slice has to be a number or name that is written out", x)
			}
		}
		head, tail := *t, gojq.Term{Type: gojq.TermTypeIdentity, SuffixList: t.SuffixList[i:]}
		head.SuffixList = t.SuffixList[:i:i]
		rest := &gojq.Query{Term: &tail}
		*q = *pipe(then(&gojq.Query{Term: &head}, costName), rest)
		return nil // later slices are of something shorter
	}
	if t.Type == gojq.TermTypeIndex && t.Index.IsSlice {
		body := *q
		*q = *pipe(call(costName), &body)
	}
	return nil
}
