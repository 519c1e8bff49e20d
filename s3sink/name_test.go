package s3sink

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var (
	commitID = uuid.MustParse("0198c1de-7b3a-7c11-9d5e-2f1a6b0c4d3e")
	name     = regexp.MustCompile(`stream-1-\d{4}(-\d\d){5}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

func newNames(t *testing.T, n Naming) *Names {
	t.Helper()
	names, err := NewNames(n, "stream", "")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// evaluated returns the prefix of a key, and checks the rest.
func evaluated(t *testing.T, key string) string {
	t.Helper()
	rest := name.FindString(key)
	if rest == "" {
		t.Fatalf("key %q does not end in a name as Firehose makes it", key)
	}
	return strings.TrimSuffix(key, rest)
}

// TestDocumentedPrefixes has the examples of Firehose's developer guide, "Custom Prefixes for Amazon S3 Objects", each at the
// time that its result shows. The guide leaves out the hour of yyyy/MM/dd/HH/ in its results, and shows a slash before it that
// the service does not write: those two rows are as the service does it.
func TestDocumentedPrefixes(t *testing.T) {
	f := func(n Naming, when, wantData, wantFailed string) {
		t.Helper()
		names := newNames(t, n)
		o := Object{Commit: commitID, Version: 1, First: at(t, when)}
		if got := evaluated(t, names.Key(o)); !regexp.MustCompile("^" + wantData + "$").MatchString(got) {
			t.Errorf("%+v: data: got %q, want %q", n, got, wantData)
		}
		o.Failed = ErrorProcessing
		if got := evaluated(t, names.Key(o)); got != wantFailed {
			t.Errorf("%+v: failed: got %q, want %q", n, got, wantFailed)
		}
	}
	f(Naming{ErrorOutputPrefix: "myFirehoseFailures/!{firehose:error-output-type}/"}, "2018-08-27T10:30:00Z",
		"2018/08/27/10/", "myFirehoseFailures/processing-failed/")
	f(Naming{
		Prefix:            "myFirehose/DeliveredYear=!{timestamp:yyyy}/anyMonth/rand=!{firehose:random-string}",
		ErrorOutputPrefix: "myFirehoseFailures/!{firehose:error-output-type}/!{timestamp:yyyy}/anyMonth/!{timestamp:dd}",
	}, "2018-08-10T10:30:00Z", "myFirehose/DeliveredYear=2018/anyMonth/rand=[A-Za-z0-9]{11}", "myFirehoseFailures/processing-failed/2018/anyMonth/10")
	f(Naming{
		Prefix:            "myPrefix/year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/",
		ErrorOutputPrefix: "myErrorPrefix/!{timestamp:'year='yyyy'/month='MM'/day='dd'/hour='HH}/!{firehose:error-output-type}",
	}, "2018-07-06T23:00:00Z", "myPrefix/year=2018/month=07/day=06/hour=23/", "myErrorPrefix/year=2018/month=07/day=06/hour=23/processing-failed")
	f(Naming{Prefix: "myFirehosePrefix"}, "2018-08-27T10:30:00Z", "myFirehosePrefix2018/08/27/10/", "myFirehosePrefixprocessing-failed/2018/08/27/10/")
	f(Naming{Prefix: "myFirehosePrefix/"}, "2018-08-27T10:30:00Z", "myFirehosePrefix/2018/08/27/10/", "myFirehosePrefix/processing-failed/2018/08/27/10/")
	f(Naming{ErrorOutputPrefix: "failures/!{firehose:error-output-type}/"}, "2018-08-27T10:30:00Z", "2018/08/27/10/", "failures/processing-failed/")
	f(Naming{Prefix: "legacy"}, "2026-07-13T10:00:00Z", "legacy2026/07/13/10/", "legacyprocessing-failed/2026/07/13/10/")
}

// TestUndocumentedPrefixes has what the guide leaves open or what it contradicts itself in; docs/formats/objects.md lists our choices.
func TestUndocumentedPrefixes(t *testing.T) {
	f := func(n Naming, wantData, wantFailed string) {
		t.Helper()
		names := newNames(t, n)
		o := Object{Commit: commitID, Version: 1, First: at(t, "2026-11-28T15:04:05Z")}
		if got := evaluated(t, names.Key(o)); !regexp.MustCompile("^" + wantData + "$").MatchString(got) {
			t.Errorf("%+v: data: got %q, want %q", n, got, wantData)
		}
		o.Failed = ErrorFormatConversion
		if got := evaluated(t, names.Key(o)); got != wantFailed {
			t.Errorf("%+v: failed: got %q, want %q", n, got, wantFailed)
		}
	}
	f(Naming{}, "2026/11/28/15/", "format-conversion-failed/2026/11/28/15/")
	// An expression that is no time: nothing is added.
	f(Naming{Prefix: "a/!{firehose:random-string}/", ErrorOutputPrefix: "e/"}, "a/[A-Za-z0-9]{11}/", "e/format-conversion-failed/2026/11/28/15/")
	f(Naming{Prefix: "a/", ErrorOutputPrefix: "errors"}, "a/2026/11/28/15/", "errorsformat-conversion-failed/2026/11/28/15/")
	// The zone is that of every time, failed records included.
	f(Naming{CustomTimeZone: "Asia/Tokyo"}, "2026/11/29/00/", "format-conversion-failed/2026/11/29/00/")
	f(Naming{Prefix: "x}y/$1/", CustomTimeZone: "UTC"}, `x}y/\$1/2026/11/28/15/`, "x}y/$1/format-conversion-failed/2026/11/28/15/")
}

func TestPrefixRules(t *testing.T) {
	f := func(n Naming, want string) {
		t.Helper()
		err := n.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want one with %q", n, err, want)
		}
	}
	rule := func(n Naming, want RuleError) {
		t.Helper()
		var got *RuleError
		if err := n.Validate(); !errors.As(err, &got) {
			t.Fatalf("%+v: got error %v, want a RuleError", n, err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%+v: (-want +got):\n%s", n, diff)
		}
	}
	// The one sentence that is known from the service, and the guide's example of it.
	rule(Naming{Prefix: "!{timestamp:yyyy/MM/dd}"}, RuleError{
		Key:     "error_output_prefix",
		Message: "Ths supplied prefix(es) do not satisfy the following constraint: ErrorOutputPrefix cannot be null or empty when Prefix contains expressions",
		Fix:     "set it, for example to failed/!{firehose:error-output-type}/",
	})
	const failed = "failed/!{firehose:error-output-type}/"
	f(Naming{Prefix: "!{firehose:random-string}/"}, "ErrorOutputPrefix cannot be null or empty")
	f(Naming{Prefix: "!{partitionKeyFromQuery:a}/"}, "ErrorOutputPrefix cannot be null or empty")
	f(Naming{ErrorOutputPrefix: "e/!{timestamp:yyyy}/"}, "must contain at least one instance of !{firehose:error-output-type}")
	f(Naming{ErrorOutputPrefix: "e/!{firehose:random-string}/"}, "must contain at least one instance of !{firehose:error-output-type}")
	f(Naming{Prefix: "!{firehose:error-output-type}/", ErrorOutputPrefix: failed}, "prefix: "+constraint+"Prefix cannot contain !{firehose:error-output-type}")
	f(Naming{ErrorOutputPrefix: failed + "!{partitionKeyFromQuery:a}"}, "ErrorOutputPrefix cannot contain partitionKeyFromQuery")
	f(Naming{ErrorOutputPrefix: failed + "!{partitionKeyFromLambda:a}"}, "ErrorOutputPrefix cannot contain partitionKeyFromQuery or partitionKeyFromLambda")
	f(Naming{Prefix: "a/!{timestamp:yyyy", ErrorOutputPrefix: failed}, "The sequence !{ can only appear in !{namespace:value} expressions")
	f(Naming{Prefix: "a/!{timestamp:yy!{timestamp:MM}", ErrorOutputPrefix: failed}, "The sequence !{ can only appear in !{namespace:value} expressions")
	f(Naming{Prefix: "a/!{}", ErrorOutputPrefix: failed}, "The sequence !{ can only appear in !{namespace:value} expressions")
	f(Naming{Prefix: "a/!{yyyy}", ErrorOutputPrefix: failed}, "write !{yyyy} with a namespace and a value")
	f(Naming{Prefix: "a/!{time:yyyy}", ErrorOutputPrefix: failed}, "prefix: !{time:yyyy}: the namespaces are")
	f(Naming{Prefix: "a/!{firehose:random}", ErrorOutputPrefix: failed}, "the values of firehose are")
	f(Naming{Prefix: "a/!{partitionKeyFromQuery:}", ErrorOutputPrefix: failed}, "name a partition key after the colon")
	f(Naming{Prefix: "a/!{timestamp:yyyy/bb}", ErrorOutputPrefix: failed}, "prefix: !{timestamp:yyyy/bb}: timestamp pattern \"yyyy/bb\": letter 'b' at position 6")
	f(Naming{Prefix: strings.Repeat("a", 1025)}, "prefix: it has 1025 characters: at most 1024 are allowed")
	f(Naming{Prefix: strings.Repeat("é", 500)}, "prefix cannot be greater than 512 characters after evaluation: shorten it, it has up to 514")
	f(Naming{ErrorOutputPrefix: strings.Repeat("e", 480)}, "error_output_prefix cannot be greater than 512 characters")
	f(Naming{Prefix: "a\n"}, "control character at byte 1")
	f(Naming{Prefix: "a\xff"}, "is not UTF-8")
	f(Naming{Prefix: "a/../b/"}, `prefix: it has the folder ".."`)
	f(Naming{Prefix: "a/", ErrorOutputPrefix: "./e"}, `error_output_prefix: it has the folder "."`)
	f(Naming{CustomTimeZone: "+09:00"}, "custom_time_zone")
	f(Naming{CustomTimeZone: "Etc/GMT+9"}, "custom_time_zone")
	f(Naming{CustomTimeZone: "Local"}, "custom_time_zone")
	f(Naming{CustomTimeZone: "Asia/Nowhere"}, "is no name of the IANA time zone database")
	f(Naming{FileExtension: "json"}, "file_extension")
	f(Naming{FileExtension: ".JSON"}, "file_extension")
	f(Naming{FileExtension: "."}, "file_extension")
	f(Naming{FileExtension: "." + strings.Repeat("a", 128)}, "file_extension")

	// Every problem at once.
	f(Naming{Prefix: "!{x:y}", CustomTimeZone: "1", FileExtension: "x"}, "prefix: ")
	err := Naming{Prefix: "!{x:y}", CustomTimeZone: "1", FileExtension: "x"}.Validate()
	for _, key := range []string{"prefix", "custom_time_zone", "file_extension"} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("got %v, want it to name %s", err, key)
		}
	}
	if _, err := NewNames(Naming{}, "a/b", ""); err == nil {
		t.Error("a stream name with a slash passed")
	}
}

func TestNames(t *testing.T) {
	f := func(n Naming, ext string, o Object, want string) {
		t.Helper()
		names, err := NewNames(n, "my-delivery-stream", ext)
		if err != nil {
			t.Fatal(err)
		}
		if err := names.CheckKeys(o.Values); err != nil {
			t.Fatal(err)
		}
		if got := names.Key(o); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	first := at(t, "2019-08-09T23:55:09Z")
	// UUIDs of version 5, made by python3: uuid.uuid5(commit, "0"), uuid.uuid5(commit, "7").
	const id0, id7 = "51380cf7-37fd-5b64-b070-c92d7e1f7376", "06edbb83-ec52-546d-8799-ed00c5ff3895"
	f(Naming{}, "", Object{Commit: commitID, Version: 1, First: first}, "2019/08/09/23/my-delivery-stream-1-2019-08-09-23-55-09-"+id0)
	f(Naming{}, ".gz", Object{Commit: commitID, Index: 7, Version: 12, First: first}, "2019/08/09/23/my-delivery-stream-12-2019-08-09-23-55-09-"+id7+".gz")
	f(Naming{FileExtension: ".json.gz"}, ".gz", Object{Commit: commitID, Version: 1, First: first}, "2019/08/09/23/my-delivery-stream-1-2019-08-09-23-55-09-"+id0+".json.gz")
	f(Naming{CustomTimeZone: "America/New_York"}, "", Object{Commit: commitID, Version: 1, First: first}, "2019/08/09/19/my-delivery-stream-1-2019-08-09-19-55-09-"+id0)
	f(Naming{FileExtension: ".x"}, ".gz", Object{Commit: commitID, Version: 1, First: first, Failed: ErrorProcessing},
		"processing-failed/2019/08/09/23/my-delivery-stream-1-2019-08-09-23-55-09-"+id0)
	// The example of the guide's page on dynamic partitioning.
	f(Naming{
		Prefix: "customer_id=!{partitionKeyFromQuery:customer_id}/device=!{partitionKeyFromQuery:device}/year=!{partitionKeyFromQuery:year}/" +
			"month=!{partitionKeyFromQuery:month}/day=!{partitionKeyFromQuery:day}/hour=!{partitionKeyFromQuery:hour}/",
		ErrorOutputPrefix: "!{firehose:error-output-type}/",
	}, "", Object{Commit: commitID, Version: 1, First: first, Values: []string{"1234567890", "mobile", "2019", "08", "09", "20"}},
		"customer_id=1234567890/device=mobile/year=2019/month=08/day=09/hour=20/my-delivery-stream-1-2019-08-09-23-55-09-"+id0)
}

// TestNamesAreRepeatable: a name is a function of commit and index, and no two objects share one.
func TestNamesAreRepeatable(t *testing.T) {
	n := Naming{Prefix: "!{firehose:random-string}/!{firehose:random-string}/!{partitionKeyFromQuery:a}/", ErrorOutputPrefix: "e/"}
	seen := map[string]bool{}
	for i := range 500 {
		o := Object{Commit: commitID, Index: i, Version: 3, First: time.Unix(1e9, 0), Values: []string{"v"}}
		key := newNames(t, n).Key(o)
		if again := newNames(t, n).Key(o); again != key {
			t.Fatalf("got %s and then %s for one object", key, again)
		}
		for _, random := range strings.Split(key, "/")[:2] {
			if len(random) != randomLen || seen[random] {
				t.Fatalf("random string %q of object %d has another length or came before", random, i)
			}
			seen[random] = true
		}
		if id := key[len(key)-36:]; seen[id] {
			t.Fatalf("uuid %s came twice", id)
		} else if seen[id] = true; uuid.MustParse(id).Version() != 5 {
			t.Fatalf("uuid %s is not of version 5", id)
		}
	}
	other := uuid.MustParse("0198c1de-7b3a-7c11-9d5e-2f1a6b0c4d3f")
	if a, b := randomString(commitID, 0, 0), randomString(other, 0, 0); a == b {
		t.Error("two commits share a random string")
	}
}

func TestCheckKeys(t *testing.T) {
	names := newNames(t, Naming{
		Prefix:            "!{partitionKeyFromQuery:a}/b=!{partitionKeyFromLambda:a}/!{partitionKeyFromQuery:a}/!{timestamp:MMMM}/",
		ErrorOutputPrefix: "e/",
	})
	if diff := cmp.Diff([]PartitionKey{{Name: "a"}, {Name: "a", Lambda: true}}, names.Keys()); diff != "" {
		t.Fatalf("keys (-want +got):\n%s", diff)
	}
	f := func(want string, vals ...string) {
		t.Helper()
		err := names.CheckKeys(vals)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40q: got error %v, want one with %q", vals, err, want)
		}
	}
	f("", "x", "y")
	f("", "a/b", "c d=é\"'")
	f("", "x", "..") // b=.. is a folder like others
	f("2 partition keys, there are 1 values", "x")
	f(`partition key "a" is empty`, "", "y")
	f("is not UTF-8", "x", "\xff")
	f("control character", "x\x00", "y")
	f(`has the folder ".."`, "..", "y")
	f(`has the folder "."`, "x/.", "y")
	// Used twice, and the widest month is September, whatever the time of the record: 2·249 + 1 + len("/b=//September/") = 514.
	f("up to 514 characters, at most 512", strings.Repeat("x", 249), "y")
	f("", strings.Repeat("x", 248), "y")
	f("S3 allows 1024", strings.Repeat("€", 248), "y") // 248 characters of 3 bytes, twice
}

// TestGroup: Firehose groups records whose prefixes evaluate to the same; the time is that of the first of them.
func TestGroup(t *testing.T) {
	names := newNames(t, Naming{
		Prefix:            "!{timestamp:ss}/!{firehose:random-string}/!{partitionKeyFromQuery:a}/!{partitionKeyFromQuery:b}/",
		ErrorOutputPrefix: "e/",
	})
	f := func(a, b []string, same bool) {
		t.Helper()
		if got := names.Group(a) == names.Group(b); got != same {
			t.Errorf("%q and %q in one object: got %t, want %t", a, b, got, same)
		}
	}
	f([]string{"x", "y"}, []string{"x", "y"}, true)
	f([]string{"x", "y"}, []string{"y", "x"}, false)
	f([]string{"x/y", "z"}, []string{"x", "y/z"}, true)
	f([]string{"xy", "z"}, []string{"x", "yz"}, false)
}

func TestStatic(t *testing.T) {
	f := func(prefix, want string) {
		t.Helper()
		if got := newNames(t, Naming{Prefix: prefix, ErrorOutputPrefix: "e"}).Static(); got != want {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	}
	f("", "")
	f("a/b/", "a/b/")
	f("a/b", "a/")
	f("legacy", "")
	f("a/y=!{timestamp:yyyy}/b/", "a/")
	f("!{timestamp:yyyy}/b/", "")
}

func FuzzPrefix(f *testing.F) {
	f.Add("a/!{timestamp:yyyy}/!{partitionKeyFromQuery:k}/!{firehose:random-string}/", "e/!{firehose:error-output-type}/", "v")
	f.Fuzz(func(t *testing.T, data, failed, v string) {
		names, err := NewNames(Naming{Prefix: data, ErrorOutputPrefix: failed}, "stream", ".gz")
		if err != nil {
			return
		}
		o := Object{Commit: commitID, Version: 1 << 62, First: time.Unix(1e9, 0)}
		for range names.Keys() {
			o.Values = append(o.Values, v)
		}
		if names.CheckKeys(o.Values) != nil {
			return
		}
		if key := names.Key(o); len(key) > maxKey || !strings.HasPrefix(key, names.Static()) {
			t.Errorf("key %q has %d bytes, static part %q", key, len(key), names.Static())
		}
	})
}
