package config

import (
	"slices"
	"strings"
)

// Suggest returns the name that a misspelt one most likely stands for, or "".
func Suggest(got string, names []string) string {
	fold := func(s string) string { return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(s)) }
	best, least := "", 1+max(1, len(got)/3)
	for _, name := range names {
		d := distance(fold(got), fold(name))
		if strings.ReplaceAll(fold(got), "_", "") == strings.ReplaceAll(fold(name), "_", "") {
			d = 0
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// hint says what a name may have been meant to be: the likely one, else all of
// them if they are few.
func hint(got string, names []string) string {
	if s := Suggest(got, names); s != "" {
		return `; did you mean "` + s + `"?`
	}
	if len(names) == 0 {
		return ""
	}
	names = slices.Sorted(slices.Values(names))
	if len(names) > 16 {
		return ""
	}
	return "; known: " + strings.Join(names, ", ")
}

// distance is the number of inserted, removed, changed and swapped bytes.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
