package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suite returns the cases of nst/JSONTestSuite, by name, which a module that this one needs
// ships with its tests.
func suite(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/aws/smithy-go").Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		t.Fatalf("where is smithy-go: %v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(module.Dir, "transport/http/protocol/internal/json/testdata/test_parsing/*.json"))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cases[strings.TrimSuffix(filepath.Base(f), ".json")] = text
	}
	if len(cases) < 300 {
		t.Fatalf("%d cases in %s: the module has moved them", len(cases), module.Dir)
	}
	return cases
}

// choices are what becomes of the cases that the suite leaves to the implementation, as
// the value of a member: a row with a column or with rescued text, or the code of a reject.
var choices = map[string]string{
	"i_number_double_huge_neg_exp":                   "rescued",
	"i_number_huge_exp":                              "rescued",
	"i_number_neg_int_huge_exp":                      "rescued",
	"i_number_pos_double_huge_exp":                   "rescued",
	"i_number_real_neg_overflow":                     "rescued",
	"i_number_real_pos_overflow":                     "rescued",
	"i_number_real_underflow":                        "rescued",
	"i_number_too_big_neg_int":                       "rescued",
	"i_number_too_big_pos_int":                       "rescued",
	"i_number_very_big_negative_int":                 "rescued",
	"i_object_key_lone_2nd_surrogate":                "rescued",
	"i_string_1st_surrogate_but_2nd_missing":         "rescued",
	"i_string_1st_valid_surrogate_2nd_invalid":       "rescued",
	"i_string_UTF-16LE_with_BOM":                     "utf8",
	"i_string_UTF-8_invalid_sequence":                "utf8",
	"i_string_UTF8_surrogate_U+D800":                 "utf8",
	"i_string_incomplete_surrogate_and_escape_valid": "rescued",
	"i_string_incomplete_surrogate_pair":             "rescued",
	"i_string_incomplete_surrogates_escape_valid":    "rescued",
	"i_string_invalid_lonely_surrogate":              "rescued",
	"i_string_invalid_surrogate":                     "rescued",
	"i_string_invalid_utf-8":                         "utf8",
	"i_string_inverted_surrogates_U+1D11E":           "rescued",
	"i_string_iso_latin_1":                           "utf8",
	"i_string_lone_second_surrogate":                 "rescued",
	"i_string_lone_utf8_continuation_byte":           "utf8",
	"i_string_not_in_unicode_range":                  "utf8",
	"i_string_overlong_sequence_2_bytes":             "utf8",
	"i_string_overlong_sequence_6_bytes":             "utf8",
	"i_string_overlong_sequence_6_bytes_null":        "utf8",
	"i_string_truncated-utf-8":                       "utf8",
	"i_string_utf16BE_no_BOM":                        "utf8",
	"i_string_utf16LE_no_BOM":                        "utf8",
	"i_structure_500_nested_arrays":                  "rescued",
	"i_structure_UTF-8_BOM_empty_object":             "syntax",
}

// TestJSONTestSuite: what has to be accepted is, as a unit and as the value of a member,
// whether or not the table knows it; what has to be rejected is not a row as a whole.
func TestJSONTestSuite(t *testing.T) {
	tables := append(shapes(t), nil)
	seen := 0
	for name, text := range suite(t) {
		member := append(append([]byte(`{"a":`), text...), '}')
		for i, s := range tables {
			alone, within := fateOf(text, s), fateOf(member, s)
			switch name[0] {
			case 'y':
				if !json.Valid(text) {
					t.Fatalf("%s: is not what it says", name)
				}
				if strings.HasPrefix(name, "y_object_duplicated_key") { // docs/design/types.md: which of two values would be meant?
					if alone != CodeDuplicateKey || within != CodeDuplicateKey {
						t.Errorf("%s, table %d: %s, within %s", name, i, alone, within)
					}
					continue
				}
				if alone != "row" && alone != "rescued" && alone != CodeTopLevel {
					t.Errorf("%s alone, table %d: %s", name, i, alone)
				}
				if within != "row" && within != "rescued" {
					t.Errorf("%s within, table %d: %s", name, i, within)
				}
			case 'n':
				if within == "row" || within == "rescued" {
					t.Errorf("%s within, table %d: %s", name, i, within)
				}
				if alone == "row" || alone == "rescued" {
					t.Errorf("%s alone, table %d: %s", name, i, alone)
				}
			case 'i':
				if s == nil {
					seen++
					if within != choices[name] {
						t.Errorf("%s: %s, said to be %q", name, within, choices[name])
					}
				}
			}
		}
	}
	if seen != len(choices) {
		t.Errorf("%d of %d choices were looked at", seen, len(choices))
	}
}

// fateOf tells what becomes of a record: "row" or "rescued" if it is one row and nothing
// else, or else the code of the first reject.
func fateOf(text []byte, s *Schema) string {
	d := NewDecoder(Options{})
	o := d.Decode([][]byte{text}, s, nil)
	defer o.Data.Release()
	switch {
	case len(o.Rejects) > 0:
		return o.Rejects[0].Code
	case len(o.Unit) != 1:
		return fmt.Sprintf("%d rows, skipped %v", len(o.Unit), o.Skipped)
	}
	// Once more with the columns that it wants.
	if o.Want != nil {
		merged, _, _ := Merge(s, o.Want)
		next := d.Decode([][]byte{text}, numbered(merged), nil)
		defer next.Data.Release()
		o = next
	}
	if at := o.Data.Schema().FieldIndices(Rescued); len(at) > 0 && o.Data.Column(at[0]).NullN() == 0 {
		return "rescued"
	}
	return "row"
}
