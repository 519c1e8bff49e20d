package schema

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// emptyName is the column of the key "".
const emptyName = "_empty"

// isTaken tells whether Iceberg gives a meaning to a column name in lower case.
func isTaken(name string) bool {
	switch name {
	case "_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number",
		"_change_type", "_change_ordinal", "_commit_snapshot_id":
		return true
	}
	return false
}

// IsMeta tells whether firehosed fills the top-level column f of a table itself:
// its name is reserved and it is not filled from a key of another name.
func IsMeta(f *Field) bool { return f.JSONKey() == f.Name && isReserved(f.Name) }

// isReserved tells whether a column name has a prefix that is ours, case aside.
func isReserved(name string) bool {
	return len(name) >= len(Reserved) && strings.EqualFold(name[:len(Reserved)], Reserved)
}

// A namer gives out column names within one object.
type namer struct {
	top   bool // the object is the record: reserved names apply
	limit int  // bytes of a name
	names map[string]bool
	keys  map[string]bool
}

func newNamer(fields []Field, top bool, limit int) *namer {
	nm := &namer{top: top, limit: limit, names: map[string]bool{}, keys: map[string]bool{}}
	for i := range fields {
		nm.take(&fields[i])
	}
	return nm
}

func (nm *namer) take(f *Field) {
	nm.names[strings.ToLower(f.Name)] = true
	if !nm.top || !IsMeta(f) {
		nm.keys[strings.ToLower(f.JSONKey())] = true
	}
}

// field names the column of a key that has none. ok is false if it can have
// none: another column has the key in other case, or it is no text for a name.
func (nm *namer) field(key string) (f Field, ok bool) {
	if len(key) > nm.limit || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 || nm.keys[strings.ToLower(key)] {
		return Field{}, false
	}
	name := cleanName(key)
	if nm.top && (isReserved(name) || isTaken(strings.ToLower(name))) {
		if isReserved(name) {
			name = name[1:]
		}
		name += "_"
	}
	name = nm.free(name)
	f = Field{Name: name}
	if name != key {
		f.Key, f.Doc = key, DocForKey(key)
	}
	return f, true
}

// free returns name, or the first of name_2, name_3 ... that no column has.
func (nm *namer) free(name string) string {
	name = cutText(name, nm.limit)
	for n, stem := 2, name; nm.names[strings.ToLower(name)]; n++ {
		suffix := "_" + strconv.Itoa(n)
		name = cutText(stem, nm.limit-len(suffix)) + suffix
	}
	return name
}

// cleanName replaces what makes trouble in SQL or paths by underscores.
func cleanName(key string) string {
	if key == "" {
		return emptyName
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			return r
		}
		return '_'
	}, key)
}
