// Package model holds tests only: an explicit-state model of the commit protocol in
// docs/design/exactly-once.md, one of tables of objects in S3 (its 3.1), and a search
// through them.
//
// A state is a comparable struct. A breadth-first search visits every interleaving
// within the bounds of a config and checks the invariants of 2.9 in every state, and
// recovery from it. Each mutant removes one rule; the search must then find a
// violation.
//
//	go test ./internal/model                             the smaller configs, every mutant: a minute
//	go test ./internal/model -full -timeout 30m          every config, long random walks
//	go test ./internal/model -v -run One -config NAME [-mutant NAME]
package model
