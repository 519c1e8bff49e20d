package s3sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// FailedRecord is a record that is delivered under the error prefix, and why.
type FailedRecord struct {
	Raw      []byte    // as it was received, before any transform
	Code     string    // such as Lambda.FunctionError
	Message  string    // the same in words
	Attempts int       // how often it was tried, at least 1
	Arrived  time.Time // as the source stamped it
	Ended    time.Time // when it was given up

	LambdaARN string // of the function that failed; processing-failed only

	Sequence string        // the record's position; format-conversion-failed only
	Sub      int32         // the number of the unit in the record; format-conversion-failed only
	Catalog  *CatalogTable // the table whose schema it does not match, nil: none; format-conversion-failed only
}

// CatalogTable names a table of AWS Glue in a failed record.
type CatalogTable struct {
	CatalogID    string `json:"catalogId"`
	DatabaseName string `json:"databaseName"`
	TableName    string `json:"tableName"`
	Region       string `json:"region"`
	VersionID    string `json:"versionId"` // LATEST
	RoleARN      string `json:"roleArn"`
}

// processingFailed has the members and their order as the service writes them; its
// documentation says lambdaArn and shows texts for numbers.
type processingFailed struct {
	RawData                []byte `json:"rawData"`
	ErrorCode              string `json:"errorCode"`
	ErrorMessage           string `json:"errorMessage"`
	AttemptsMade           int    `json:"attemptsMade"`
	ArrivalTimestamp       int64  `json:"arrivalTimestamp"`
	AttemptEndingTimestamp int64  `json:"attemptEndingTimestamp"`
	LambdaARN              string `json:"lambdaARN,omitempty"`
}

// formatConversionFailed has other names for some of them, as documented.
type formatConversionFailed struct {
	AttemptsMade           int           `json:"attemptsMade"`
	ArrivalTimestamp       int64         `json:"arrivalTimestamp"`
	LastErrorCode          string        `json:"lastErrorCode"`
	LastErrorMessage       string        `json:"lastErrorMessage"`
	AttemptEndingTimestamp int64         `json:"attemptEndingTimestamp"`
	RawData                []byte        `json:"rawData"`
	SequenceNumber         string        `json:"sequenceNumber"`
	SubSequenceNumber      int32         `json:"subSequenceNumber"`
	DataCatalogTable       *CatalogTable `json:"dataCatalogTable,omitempty"`
}

// Append appends the record as objects of an error-output-type hold it: for
// [ErrorProcessing] and [ErrorFormatConversion] one JSON object and a line feed, times
// in milliseconds since 1970, the record in base64. For [ErrorDecompression], the bytes
// as they came. Text that is not UTF-8 gets replacement characters.
func (f *FailedRecord) Append(dst []byte, errorType string) []byte {
	switch errorType {
	case ErrorProcessing:
		return appendJSON(dst, processingFailed{
			RawData: raw(f.Raw), ErrorCode: f.Code, ErrorMessage: f.Message, AttemptsMade: f.Attempts,
			ArrivalTimestamp: f.Arrived.UnixMilli(), AttemptEndingTimestamp: f.Ended.UnixMilli(), LambdaARN: f.LambdaARN,
		})
	case ErrorFormatConversion:
		return appendJSON(dst, formatConversionFailed{
			AttemptsMade: f.Attempts, ArrivalTimestamp: f.Arrived.UnixMilli(), LastErrorCode: f.Code, LastErrorMessage: f.Message,
			AttemptEndingTimestamp: f.Ended.UnixMilli(), RawData: raw(f.Raw), SequenceNumber: f.Sequence, SubSequenceNumber: f.Sub,
			DataCatalogTable: f.Catalog,
		})
	case ErrorDecompression:
		return append(dst, f.Raw...)
	}
	panic(fmt.Sprintf("BUG: error-output-type %q has no layout", errorType))
}

// raw keeps an empty record from becoming null.
func raw(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// appendJSON appends v and a line feed. Unlike json.Marshal it leaves < > & alone.
func appendJSON(dst []byte, v any) []byte {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("BUG: a failed record cannot be written: %v", err))
	}
	return buf.Bytes()
}
