package s3sink

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var failedRecord = FailedRecord{
	Raw: []byte("{\"a\":<1>}\xff"), Code: "Lambda.FunctionError", Message: "x<y & \"z\"\n", Attempts: 4,
	Arrived: time.UnixMicro(1_785_000_000_123_999), Ended: time.UnixMilli(1_785_000_060_000),
	LambdaARN: "arn:aws:lambda:eu-west-1:123456789012:function:f", Sequence: "49590338271490256608559692538361571095921575989136588898", Sub: 3,
	Catalog: &CatalogTable{CatalogID: "123456789012", DatabaseName: "d", TableName: "t", Region: "eu-west-1", VersionID: "LATEST", RoleARN: "arn:aws:iam::123456789012:role/r"},
}

// TestFailedRecords has the members in the order that the service was seen to write (processing-failed) or that its guide
// shows (format-conversion-failed).
func TestFailedRecords(t *testing.T) {
	f := func(errorType, want string) {
		t.Helper()
		if diff := cmp.Diff(want, string(failedRecord.Append([]byte("before"), errorType))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", errorType, diff)
		}
	}
	f("processing-failed", `before{"rawData":"eyJhIjo8MT59/w==","errorCode":"Lambda.FunctionError","errorMessage":"x<y & \"z\"\n","attemptsMade":4,`+
		`"arrivalTimestamp":1785000000123,"attemptEndingTimestamp":1785000060000,"lambdaARN":"arn:aws:lambda:eu-west-1:123456789012:function:f"}`+"\n")
	f("format-conversion-failed", `before{"attemptsMade":4,"arrivalTimestamp":1785000000123,"lastErrorCode":"Lambda.FunctionError","lastErrorMessage":"x<y & \"z\"\n",`+
		`"attemptEndingTimestamp":1785000060000,"rawData":"eyJhIjo8MT59/w==","sequenceNumber":"49590338271490256608559692538361571095921575989136588898",`+
		`"subSequenceNumber":3,"dataCatalogTable":{"catalogId":"123456789012","databaseName":"d","tableName":"t","region":"eu-west-1","versionId":"LATEST",`+
		`"roleArn":"arn:aws:iam::123456789012:role/r"}}`+"\n")
	f("decompression-failed", "before{\"a\":<1>}\xff")
}

func TestFailedRecordWithoutTheRest(t *testing.T) {
	for _, errorType := range []string{ErrorProcessing, ErrorFormatConversion} {
		f := FailedRecord{Code: "\xff", Arrived: time.UnixMilli(0), Ended: time.UnixMilli(0), Attempts: 1}
		var got map[string]any
		if err := json.Unmarshal(f.Append(nil, errorType), &got); err != nil {
			t.Fatal(err)
		}
		if got["rawData"] != "" {
			t.Errorf("%s: an empty record is %v", errorType, got["rawData"])
		}
		for _, absent := range []string{"lambdaARN", "dataCatalogTable"} {
			if v, ok := got[absent]; ok {
				t.Errorf("%s: got %s %v, want none", errorType, absent, v)
			}
		}
	}
}

func TestFailedRecordOfUnknownType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a type without layout was written")
		}
	}()
	failedRecord.Append(nil, "splunk-failed")
}

// TestFailedRecordOfThePage compares with the example in docs/formats/objects.md.
func TestFailedRecordOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/objects.md")
	if err != nil {
		t.Fatal(err)
	}
	f := FailedRecord{
		Raw: []byte(`{"a":1}`), Code: "DynamicPartitioning.MetadataExtractionFailed", Message: `partition key "customer_id" is null`, Attempts: 1,
		Arrived: time.UnixMilli(1785000000123), Ended: time.UnixMilli(1785000060000),
	}
	if line := string(f.Append(nil, ErrorProcessing)); !strings.Contains(string(page), "```json\n"+line+"```") {
		t.Errorf("the page does not have the line %s", line)
	}
}
