package s3sink

// RuleError is a rule of Amazon Data Firehose that a configuration breaks.
type RuleError struct {
	Key     string // of the configuration: prefix
	Message string // the sentence that Firehose answers with
	Fix     string // what to do
}

func (e *RuleError) Error() string { return e.Key + ": " + e.Message + ": " + e.Fix }

// constraint begins Firehose's sentences about prefixes, spelt as the service spells it.
const constraint = "Ths supplied prefix(es) do not satisfy the following constraint: "
