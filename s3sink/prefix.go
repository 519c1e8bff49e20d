package s3sink

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxPrefix    = 1024 // characters of a prefix as it is configured
	maxEvaluated = 512  // characters of a prefix as it comes before a name
)

// datePath is what Firehose puts after a prefix without expressions.
const datePath = "!{timestamp:yyyy/MM/dd/HH/}"

const errorType = "!{firehose:error-output-type}"

// partKind is what a part of a prefix prints.
type partKind int

const (
	partText partKind = iota
	partTime
	partRandom
	partErrorType
	partQueryKey
	partLambdaKey
)

// part is a piece of text, or an expression !{namespace:value}.
type part struct {
	kind partKind
	text string // the text, or the name of the key
	time timePattern
}

// prefix is a parsed prefix.
type prefix []part

// parsePrefix reads the prefix of a configuration key, and names the key in errors.
func parsePrefix(key, s string) (prefix, error) {
	if n := utf8.RuneCountInString(s); n > maxPrefix {
		return nil, fmt.Errorf("%s: it has %d characters: at most %d are allowed", key, n, maxPrefix)
	}
	var p prefix
	for rest := s; rest != ""; {
		text, expr, found := strings.Cut(rest, "!{")
		if err := checkText(key, text); err != nil {
			return nil, err
		}
		if text != "" {
			p = append(p, part{text: text})
		}
		if !found {
			break
		}
		expr, rest, found = strings.Cut(expr, "}")
		if !found || strings.Contains(expr, "!{") {
			return nil, &RuleError{
				Key: key, Message: constraint + "The sequence !{ can only appear in !{namespace:value} expressions",
				Fix: fmt.Sprintf("close !{%s with a }", expr),
			}
		}
		e, err := parseExpression(key, expr)
		if err != nil {
			return nil, err
		}
		p = append(p, e)
	}
	return p, nil
}

func parseExpression(key, expr string) (part, error) {
	namespace, value, found := strings.Cut(expr, ":")
	if !found {
		return part{}, &RuleError{
			Key: key, Message: constraint + "The sequence !{ can only appear in !{namespace:value} expressions",
			Fix: fmt.Sprintf("write !{%s} with a namespace and a value, such as !{timestamp:yyyy}", expr),
		}
	}
	switch namespace {
	case "timestamp":
		t, err := parseTimePattern(value)
		if err != nil {
			return part{}, fmt.Errorf("%s: !{%s}: %w", key, expr, err)
		}
		return part{kind: partTime, time: t}, nil
	case "firehose":
		switch value {
		case "random-string":
			return part{kind: partRandom}, nil
		case "error-output-type":
			return part{kind: partErrorType}, nil
		}
		return part{}, fmt.Errorf("%s: !{%s}: the values of firehose are random-string and error-output-type", key, expr)
	case "partitionKeyFromQuery", "partitionKeyFromLambda":
		if value == "" {
			return part{}, fmt.Errorf("%s: !{%s}: name a partition key after the colon", key, expr)
		}
		kind := partQueryKey
		if namespace == "partitionKeyFromLambda" {
			kind = partLambdaKey
		}
		return part{kind: kind, text: value}, nil
	}
	return part{}, fmt.Errorf("%s: !{%s}: the namespaces are timestamp, firehose, partitionKeyFromQuery and partitionKeyFromLambda; "+tableMark+" is for the table", key, expr)
}

// checkText refuses what would be trouble in the key of an object.
func checkText(key, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s: %q is not UTF-8: keys of objects are", key, text)
	}
	if i := strings.IndexFunc(text, control); i >= 0 {
		return fmt.Errorf("%s: %q has a control character at byte %d: remove it", key, text, i)
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// parsePrefixes reads both prefixes by Firehose's rules, and adds what Firehose adds:
// the date after a prefix without expressions, and the type of the error before it.
func parsePrefixes(data, failed string) (d, f prefix, errs []error) {
	d, err := parsePrefix("prefix", data)
	if err != nil {
		errs = append(errs, err)
	}
	f, err = parsePrefix("error_output_prefix", failed)
	if err != nil {
		errs = append(errs, err)
	}
	if errs = append(errs, prefixRules(d, f, failed)...); len(errs) > 0 {
		return nil, nil, errs
	}
	if !f.has(partTime, partRandom, partErrorType) {
		if failed == "" {
			failed = data
		}
		f, _ = parsePrefix("", failed+errorType+"/"+datePath)
	}
	if !d.has(partTime, partRandom, partQueryKey, partLambdaKey) {
		d, _ = parsePrefix("", data+datePath)
	}
	return d, f, nil
}

func prefixRules(d, f prefix, failed string) (errs []error) {
	rule := func(key, message, fix string) {
		errs = append(errs, &RuleError{Key: key, Message: constraint + message, Fix: fix})
	}
	if d.has(partErrorType) {
		rule("prefix", "Prefix cannot contain "+errorType, "move it to error_output_prefix")
	}
	if f.has(partQueryKey, partLambdaKey) {
		rule("error_output_prefix", "ErrorOutputPrefix cannot contain partitionKeyFromQuery or partitionKeyFromLambda expressions",
			"remove them: a record that failed may have no keys")
	}
	switch {
	case failed == "" && d.has(partTime, partRandom, partQueryKey, partLambdaKey):
		rule("error_output_prefix", "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions",
			"set it, for example to failed/"+errorType+"/")
	case f.has(partTime, partRandom) && !f.has(partErrorType):
		rule("error_output_prefix", "ErrorOutputPrefix must contain at least one instance of "+errorType+" when it contains expressions",
			"add "+errorType+"/")
	}
	return errs
}

func (p prefix) has(kinds ...partKind) bool {
	for _, e := range p {
		for _, k := range kinds {
			if e.kind == k {
				return true
			}
		}
	}
	return false
}

// static returns the folder that all objects with the prefix are in: the text before
// the first expression, up to its last slash.
func (p prefix) static() string {
	if len(p) == 0 || p[0].kind != partText {
		return ""
	}
	return p[0].text[:strings.LastIndexByte(p[0].text, '/')+1]
}

// values are what expressions print.
type values struct {
	time      time.Time              // in the zone of the prefix
	errorType string                 // processing-failed ...
	random    func(use int) string   // the use-th random string of a key, from 0
	key       func(part part) string // of a partition key
}

func (p prefix) append(dst []byte, v values) []byte {
	use := 0
	for _, e := range p {
		switch e.kind {
		case partText:
			dst = append(dst, e.text...)
		case partTime:
			dst = e.time.append(dst, v.time)
		case partRandom:
			dst = append(dst, v.random(use)...)
			use++
		case partErrorType:
			dst = append(dst, v.errorType...)
		case partQueryKey, partLambdaKey:
			dst = append(dst, v.key(e)...)
		}
	}
	return dst
}

// widest returns how many characters the prefix has at most, without partition keys:
// what it has at some time of a year in the zone.
func (p prefix) widest(zone *time.Location) int {
	v := values{
		errorType: longestErrorType,
		random:    func(int) string { return strings.Repeat("x", randomLen) },
		key:       func(part) string { return "" },
	}
	most := 0
	var buf []byte
	for h := range 2 * 366 {
		v.time = time.Date(2026, 1, 1, 11+12*h, 59, 59, 999_999_000, time.UTC).In(zone)
		buf = p.append(buf[:0], v)
		most = max(most, utf8.RuneCount(buf))
	}
	return most
}
