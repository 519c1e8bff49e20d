// Package daemon is the firehosed program: its commands, its configuration file,
// and the life of a worker from start-up checks to the last commit.
//
// Main runs one command. What there is to choose from, sources and sinks, is a
// list in components.go; nothing registers itself. A pipeline is built from its
// part of the file in build.go, and what of that part decides the fate of a
// record, its pure part, is in pure.go.
package daemon
