package daemon

import (
	"flag"
	"strings"
)

// commands lists all commands, in the order of the help.
func commands() []command {
	return []command{
		{name: "run", short: "deliver records until told to stop", run: runCommand, flags: runFlags, long: `
SIGTERM or SIGINT commits what was read, within shutdown_timeout, and ends; a second one
ends at once. Whatever was not committed is read again by the next worker.
Several workers with the same file share the partitions of its topics.`},
		{
			name: "validate", short: "check the configuration and tell all that is wrong with it", run: validateCommand,
			flags: func(fs *flag.FlagSet, o *options) {
				fileFlag(fs, o)
				jsonFlag(fs, o)
				fs.BoolVar(&o.print, "print", false, "write the configuration with all defaults; secrets stay references")
			}, long: `
It calls no service: run does that when it starts.`,
		},
		{name: "status", short: "tell how far pipelines are, and what is halted", run: statusCommand, flags: operatorFlags, long: `
Reads the control prefix, the catalog and the source; no worker needs to run.
Exit code 4 says that a table or a partition waits for an operator.`},
		{name: "verify", short: "prove that every record is in its table exactly once", run: verifyCommand, flags: verifyFlags, long: `
Reads the source from its origin and every table at one snapshot, and compares.
Exit code 0: proven; 1: rows are lost, duplicated or unexpected; 2: not all could be checked.`},
		{
			name: "table resume", args: []string{"TABLE"}, short: "put a table back to work that was rewound, lost or corrupted",
			run: tableResume, flags: func(fs *flag.FlagSet, o *options) {
				operatorFlags(fs, o)
				fs.BoolVar(&o.replay, "replay", false, "the rows that are gone come again")
				fs.BoolVar(&o.skip, "skip", false, "the rows that are gone stay away")
			},
		},
		{name: "table forfeit", args: []string{"TABLE"}, short: "wait no longer for a table: its rows are dropped, for good", run: tableForfeit, flags: operatorFlags},
		{name: "table rebind", args: []string{"TABLE"}, short: "write to the table as it is now", run: tableRebind, flags: operatorFlags, long: `
For a table that was made in the place of a dropped one, and for one whose owner
requires more of records than before. If what is required is another than the
control log says, it makes a new revision of the configuration.`},
		{name: "offsets skip", args: []string{"PARTITION", "FROM", "TO"}, short: "leave records out that cannot be read", run: offsetsSkip, flags: operatorFlags, long: `
PARTITION is TOPIC/NUMBER or the key that the halt tells; FROM is the first offset that is
left out, TO the first that is not. It makes a new revision of the configuration.`},
		{
			name: "offsets accept-gap", args: []string{"PARTITION", "FROM", "TO"}, short: "accept that the source lost records before they were read",
			run: offsetsAcceptGap, flags: operatorFlags, long: `
PARTITION, FROM and TO as for offsets skip. verify lists every accepted gap.`,
		},
		{
			name: "offsets accept-incarnation", args: []string{"TOPIC"}, short: "take a topic that was deleted and made anew, or truncated, as a new log",
			run: offsetsAcceptIncarnation, flags: func(fs *flag.FlagSet, o *options) {
				operatorFlags(fs, o)
				fs.StringVar(&o.from, "from", "", "the `OFFSET` at which the new log of a partition begins")
			}, long: `
TOPIC is a topic that was made anew, TOPIC/NUMBER a partition that was truncated, or either's
key as the halt tells it. What is read from then on counts as new, whatever its offsets.`,
		},
		{
			name: "control rebuild", short: "write a control prefix that was lost anew, from the tables", run: controlRebuild,
			flags: func(fs *flag.FlagSet, o *options) {
				operatorFlags(fs, o)
				fs.Func("tables", "`NAMES` of all tables of the pipeline, with commas; the dead-letter table too", func(s string) error {
					o.tables = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
					return nil
				})
			}, long: `
Stop all workers first. The configuration must be the one that was in force.`,
		},
		{name: "demo", short: "show exactly-once delivery on this machine: broker, kills and proof included", run: demoCommand, flags: demoFlags, long: `
Starts a broker in memory, writes a configuration and a warehouse into a new folder, runs a
worker, kills it over and over, also in the middle of commits, and proves at the end that
no row was lost or duplicated.`},
		{name: "convert", args: []string{"IN...", "OUT"}, short: "make a Parquet file of JSON lines", run: convertCommand, flags: convertFlags, long: convertLong},
		{name: "version", short: "tell the version", run: versionCommand, flags: jsonFlag},
	}
}

func runFlags(fs *flag.FlagSet, o *options) {
	fileFlag(fs, o)
	logFlags(fs, o)
	fs.BoolVar(&o.json, "json", false, "write a JSON line per pipeline and second to standard output")
	fs.Int64Var(&o.asNewRevision, "as-new-revision", 0, "let an earlier configuration come back as revision `N`, which must be the next number")
}

func verifyFlags(fs *flag.FlagSet, o *options) {
	operatorFlags(fs, o)
	fs.BoolVar(&o.values, "values", false, "compare what rows hold, too, not only where they came from")
}

func demoFlags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.demo.dir, "dir", "", "new or empty `FOLDER` for the demo (default firehosed-demo-<time>)")
	fs.IntVar(&o.demo.records, "records", 200_000, "how many `RECORDS` to produce")
	fs.IntVar(&o.demo.kills, "kills", 5, "how many `TIMES` to kill the worker")
	fs.BoolVar(&o.json, "json", false, "end with one JSON object on standard output")
}

// CommandsPage returns the reference page of the commands, in Markdown.
func CommandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- Written by go run ./internal/docgen from the code. Do not edit. -->\n")
	for _, cmd := range commands() {
		b.WriteString("\n## " + cmd.name + "\n\n```\n")
		_ = cmd.help(&b) // a Builder takes everything
		b.WriteString("```\n")
	}
	return b.String()
}
