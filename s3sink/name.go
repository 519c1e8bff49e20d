package s3sink

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines without time zone files
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxKey is how many bytes S3 allows in the key of an object.
const maxKey = 1024

// The error-output-types of Firehose that belong to S3.
const (
	ErrorProcessing       = "processing-failed"        // transforms, and partition keys
	ErrorFormatConversion = "format-conversion-failed" // records that are no rows
	ErrorDecompression    = "decompression-failed"     // original bytes, no JSON
)

const longestErrorType = ErrorFormatConversion

// Naming says how objects are called:
//
//	<evaluated prefix><stream>-<version>-yyyy-MM-dd-HH-mm-ss-<uuid><extension>
//
// A prefix is text with expressions. !{timestamp:yyyy/MM/dd} is the time of the
// object's first record, in a pattern of Java's DateTimeFormatter.
// !{firehose:random-string} is 11 letters and digits, others at each use.
// !{firehose:error-output-type} says what was wrong with the records of the object.
// !{partitionKeyFromQuery:key} and !{partitionKeyFromLambda:key} are the values of
// partition keys, and records with different values are in different objects.
type Naming struct {
	// Prefix comes before the names of objects. Without any expression,
	// yyyy/MM/dd/HH/ is added, and no slash before it. At most 1024 characters, and
	// 512 once it is evaluated. Firehose's Prefix; !{firehosed:table} is our own and
	// stands for the name of the table, as if it were written there. Default
	// yyyy/MM/dd/HH/.
	Prefix string `yaml:"prefix"`

	// ErrorOutputPrefix comes before the names of objects with failed records. It is
	// required if Prefix has expressions, and if it has any itself, one must be
	// !{firehose:error-output-type}. Without expressions, the type of the error and
	// yyyy/MM/dd/HH/ are added. Firehose's ErrorOutputPrefix. Default: the prefix.
	ErrorOutputPrefix string `yaml:"error_output_prefix"`

	// CustomTimeZone is the time zone of the times in prefixes and names, such as
	// Asia/Tokyo: letters, slashes and underscores. Firehose's CustomTimeZone. Default
	// UTC.
	CustomTimeZone string `yaml:"custom_time_zone"`

	// FileExtension takes the place of the extension of the format and compression:
	// a dot, then lower-case letters, digits and !-_.*'(), at most 128 characters.
	// Firehose's FileExtension. Default: .gz, .zip, .snappy, .zst, .parquet, or none.
	FileExtension string `yaml:"file_extension"`
}

var (
	zonePattern      = regexp.MustCompile(`^[a-zA-Z/_]{1,50}$`)
	extensionPattern = regexp.MustCompile(`^\.[0-9a-z!\-_.*'()]{1,127}$`)
	streamPattern    = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
)

// Validate reports every problem at once, by key. What breaks a rule of Firehose is a
// [*RuleError].
func (n Naming) Validate() error {
	_, err := NewNames(n, "stream", "")
	return err
}

// PerTable tells whether every table has a folder of its own, by its name.
func (n Naming) PerTable() bool { return strings.Contains(n.Prefix, tableMark) }

// tableMark stands for the name of the table in a prefix.
const tableMark = "!{firehosed:table}"

// PartitionKey is a key that a prefix uses.
type PartitionKey struct {
	Name   string
	Lambda bool // partitionKeyFromLambda rather than partitionKeyFromQuery
}

// Names makes the keys of objects. It is immutable.
type Names struct {
	data, failed prefix
	zone         *time.Location
	stream       string
	extension    string
	keys         []PartitionKey
	widest       int // characters of the data prefix without partition keys
	room         int // bytes that S3 leaves for a key
}

// NewNames checks n and returns the names of the objects of a stream, 1 to 64 of
// letters, digits, dots, dashes and underscores. The extension is the one of the
// format or compression, used if n has none. Errors are those of [Naming.Validate].
func NewNames(n Naming, stream, extension string) (*Names, error) {
	d, f, errs := parsePrefixes(strings.ReplaceAll(n.Prefix, tableMark, stream), strings.ReplaceAll(n.ErrorOutputPrefix, tableMark, stream))
	zone, err := n.zone()
	if err != nil {
		errs = append(errs, err)
	}
	if n.FileExtension != "" {
		extension = n.FileExtension
		if !extensionPattern.MatchString(extension) {
			errs = append(errs, fmt.Errorf("file_extension: %q: write a dot, then at most 127 of a-z 0-9 !-_.*'()", extension))
		}
	}
	if !streamPattern.MatchString(stream) {
		errs = append(errs, fmt.Errorf("stream name %q: use 1 to 64 of a-z A-Z 0-9 _.-", stream))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	names := &Names{data: d, failed: f, zone: zone, stream: stream, extension: extension, widest: d.widest(zone), room: maxKey}
	for _, e := range d {
		k := PartitionKey{Name: e.text, Lambda: e.kind == partLambdaKey}
		if (k.Lambda || e.kind == partQueryKey) && !slices.Contains(names.keys, k) {
			names.keys = append(names.keys, k)
		}
	}
	return names, names.checkFixed()
}

func (n Naming) zone() (*time.Location, error) {
	if n.CustomTimeZone == "" {
		return time.UTC, nil
	}
	if !zonePattern.MatchString(n.CustomTimeZone) || n.CustomTimeZone == "Local" {
		return nil, fmt.Errorf("custom_time_zone: %q: write a name such as Asia/Tokyo, at most 50 letters, slashes and underscores",
			n.CustomTimeZone)
	}
	zone, err := time.LoadLocation(n.CustomTimeZone)
	if err != nil {
		return nil, fmt.Errorf("custom_time_zone: %q is no name of the IANA time zone database: write one such as Asia/Tokyo", n.CustomTimeZone)
	}
	return zone, nil
}

// checkFixed refuses prefixes that fit no object.
func (n *Names) checkFixed() error {
	var errs []error
	if n.widest > maxEvaluated {
		errs = append(errs, tooLong("prefix", n.widest))
	}
	if w := n.failed.widest(n.zone); w > maxEvaluated {
		errs = append(errs, tooLong("error_output_prefix", w))
	}
	sample := n.sample(nil)
	sample.key = func(part) string { return "x" }
	for _, c := range []struct {
		key string
		p   prefix
	}{{"prefix", n.data}, {"error_output_prefix", n.failed}} {
		if s := dotSegment(string(c.p.append(nil, sample))); s != "" {
			errs = append(errs, fmt.Errorf("%s: it has the folder %q: remove it, it means another place to many programs", c.key, s))
		}
	}
	return errors.Join(errs...)
}

func tooLong(key string, n int) error {
	return &RuleError{
		Key: key, Message: constraint + fmt.Sprintf("%s cannot be greater than %d characters after evaluation", key, maxEvaluated),
		Fix: fmt.Sprintf("shorten it, it has up to %d", n),
	}
}

// dotSegment returns a folder of the prefix that is . or .., if there is one.
func dotSegment(evaluated string) string {
	folders := strings.Split(evaluated, "/")
	for _, s := range folders[:len(folders)-1] { // the last one goes on with the name
		if s == "." || s == ".." {
			return s
		}
	}
	return ""
}

// Keys returns the partition keys that the prefix uses, each once, in the order of
// their first use. The caller must not change them.
func (n *Names) Keys() []PartitionKey { return n.keys }

// Static returns the folder that all objects with data are in: empty, or it ends in a
// slash.
func (n *Names) Static() string { return n.data.static() }

// Folders returns the folders that all objects are in, with data and with failed records.
func (n *Names) Folders() []string {
	data, failed := n.data.static(), n.failed.static()
	switch {
	case strings.HasPrefix(failed, data):
		return []string{data}
	case strings.HasPrefix(data, failed):
		return []string{failed}
	}
	return []string{data, failed}
}

// CheckKeys says whether an object can be named after the values of the partition
// keys, one for each of [Names.Keys]: none is empty or has control characters, the
// evaluated prefix has at most 512 characters, and no folder of it is . or .. . The
// answer does not depend on the time, so that a record gets the same one on every
// reading.
func (n *Names) CheckKeys(vals []string) error {
	if len(vals) != len(n.keys) {
		return fmt.Errorf("the prefix uses %d partition keys, there are %d values", len(n.keys), len(vals))
	}
	for i, v := range vals {
		if v == "" {
			return fmt.Errorf("partition key %q is empty", n.keys[i].Name)
		}
		if !utf8.ValidString(v) {
			return fmt.Errorf("partition key %q is not UTF-8", n.keys[i].Name)
		}
		if strings.ContainsFunc(v, control) {
			return fmt.Errorf("partition key %q has a control character", n.keys[i].Name)
		}
	}
	length := n.widest
	for _, e := range n.data {
		if e.kind == partQueryKey || e.kind == partLambdaKey {
			length += utf8.RuneCountInString(n.value(e, vals))
		}
	}
	if length > maxEvaluated {
		return fmt.Errorf("the evaluated prefix has up to %d characters, at most %d are allowed", length, maxEvaluated)
	}
	evaluated := n.Group(vals)
	if s := dotSegment(evaluated); s != "" {
		return fmt.Errorf("the evaluated prefix has the folder %q", s)
	}
	if b := len(evaluated) - utf8.RuneCountInString(evaluated) + length + n.nameBytes(); b > n.room {
		return fmt.Errorf("the key of the object would have up to %d bytes, S3 allows %d", b, n.room)
	}
	return nil
}

// below returns names of objects whose keys come after a prefix of the bucket of so many
// bytes. An error says that no object fits.
func (n *Names) below(bucket int) (*Names, error) {
	below := *n
	below.room = maxKey - bucket
	for key, p := range map[string]prefix{"prefix": n.data, "error_output_prefix": n.failed} {
		if b := p.widest(n.zone) + n.nameBytes(); b > below.room {
			return nil, fmt.Errorf("%s: the key of an object would have up to %d bytes after the %d of the bucket's prefix, S3 allows %d: shorten it",
				key, b, bucket, maxKey)
		}
	}
	return &below, nil
}

// Group returns what records must have in common to be in one object: the prefix,
// evaluated with the values of the partition keys, at one time and with one random
// string. Different values may share it. The values must have passed
// [Names.CheckKeys].
func (n *Names) Group(vals []string) string {
	return string(n.data.append(nil, n.sample(vals)))
}

// sample prints the values of partition keys, and for all else the same always.
func (n *Names) sample(vals []string) values {
	return values{
		time: time.Unix(0, 0).In(n.zone), errorType: ErrorProcessing,
		random: func(int) string { return "x" }, key: func(e part) string { return n.value(e, vals) },
	}
}

// nameBytes is how long a name after the prefix is at most.
func (n *Names) nameBytes() int {
	const version, date, id = 20, len("-yyyyyy-MM-dd-HH-mm-ss-"), 36
	return len(n.stream) + version + date + id + len(n.extension)
}

// Object is one object of a commit.
type Object struct {
	Commit  uuid.UUID // the id of the commit
	Index   int       // counts the objects of the commit
	Version int64     // of the configuration. The first one is 1
	First   time.Time // the time of the object's first record
	Values  []string  // of the partition keys, one for each of [Names.Keys]
	Failed  string    // the error-output-type; empty: data
}

// Key returns the key of an object. It is a function of the object alone: the uuid
// and the random strings are made of the commit's id and the index. Objects with
// failed records have no extension. The values must have passed [Names.CheckKeys].
func (n *Names) Key(o Object) string {
	v := values{
		time:      o.First.In(n.zone),
		errorType: o.Failed,
		random:    func(use int) string { return randomString(o.Commit, o.Index, use) },
		key:       func(e part) string { return n.value(e, o.Values) },
	}
	p, extension := n.data, n.extension
	if o.Failed != "" {
		p, extension = n.failed, ""
	}
	b := p.append(make([]byte, 0, 256), v)
	b = append(b, n.stream...)
	b = append(b, '-')
	b = strconv.AppendInt(b, o.Version, 10)
	b = v.time.AppendFormat(b, "-2006-01-02-15-04-05-")
	b = append(b, uuid.NewSHA1(o.Commit, strconv.AppendInt(nil, int64(o.Index), 10)).String()...)
	return string(append(b, extension...))
}

// value returns the value of the key that a part names.
func (n *Names) value(e part, vals []string) string {
	return vals[slices.Index(n.keys, PartitionKey{Name: e.text, Lambda: e.kind == partLambdaKey})]
}

// randomLen is the length of Firehose's random strings.
const randomLen = 11

// randomString returns letters and digits that look random and belong to one use in
// one object.
func randomString(commit uuid.UUID, index, use int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	seed := append([]byte("random-string"), commit[:]...)
	seed = binary.BigEndian.AppendUint64(seed, uint64(index))
	seed = binary.BigEndian.AppendUint64(seed, uint64(use))
	sum := sha256.Sum256(seed)
	var out [randomLen]byte
	for i := range out { // two bytes each: the remainder favours no letter that one could see
		out[i] = alphabet[int(binary.BigEndian.Uint16(sum[2*i:]))%len(alphabet)]
	}
	return string(out[:])
}
