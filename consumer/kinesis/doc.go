// Package kinesis is the source for Amazon Kinesis Data Streams.
package kinesis
