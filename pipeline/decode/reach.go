package decode

import (
	"regexp"
	"slices"
	"strings"
)

// Streams is which streams a source reads, as far as its configuration tells.
type Streams struct {
	Names    []string       // nil: they are not known by name
	Matching *regexp.Regexp // whole names of others, also of those that are made later; nil: none
}

// Reach is which tables the units of some streams can go to.
type Reach struct {
	Tables    []string // by name, sorted: where streams that are known go by rules without a field
	Templates []string // of other names, as in the rules

	patterns []*regexp.Regexp // of Templates
}

// ReachOf returns the tables that the rules lead to.
func ReachOf(rules []Rule, streams Streams) Reach {
	var r Reach
	for _, stream := range streams.Names {
		if _, table := find(rules, stream); table != "" {
			r.add(table)
		}
	}
	for i := range rules {
		if streams.Matching != nil && couldMatch(rules[i].Topic, streams.Matching) {
			r.add(rules[i].Table)
		}
	}
	slices.Sort(r.Tables)
	r.Tables = slices.Compact(r.Tables)
	return r
}

// couldMatch reports whether a stream may have a name that both take.
func couldMatch(pattern string, streams *regexp.Regexp) bool {
	return pattern == "" || strings.Contains(pattern, "*") || streams.MatchString(pattern)
}

func (r *Reach) add(table string) {
	pattern := regexp.QuoteMeta(table)
	for _, mark := range []string{topicMark, valueMark} {
		pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(mark), ".+")
	}
	if pattern == regexp.QuoteMeta(table) {
		r.Tables = append(r.Tables, table)
		return
	}
	if !slices.Contains(r.Templates, table) {
		r.Templates, r.patterns = append(r.Templates, table), append(r.patterns, regexp.MustCompile("^"+pattern+"$"))
	}
}

// Has reports whether units may go to a table.
func (r Reach) Has(table string) bool {
	_, known := slices.BinarySearch(r.Tables, table)
	return known || slices.ContainsFunc(r.patterns, func(p *regexp.Regexp) bool { return p.MatchString(table) })
}
