// Package integration tests the built binary from outside: it runs firehosed
// as an operator would, against real brokers, stores and catalogs, kills it,
// and lets others judge what it wrote.
//
// The tests skip unless FIREHOSED_IT names the components they need;
// integration/components/up.sh starts them and prints the environment. Sizes
// are flags:
//
//	go test ./integration -v -run 'TestKillLoop/sqlite$' -records 2000000 -kills 20 -timeout 4h
//
// The subfolders: components starts the real components, gen makes records,
// checker judges tables and imports nothing of ours. TestCommitsStayCheap alone runs
// no binary: it drives the sink itself, to measure what commits cost.
package integration
