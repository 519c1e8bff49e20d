# Short names for the commands that CI runs; .ci/run is the whole of it.
.PHONY: build test race fuzz lint integration ci up down

build:
	CGO_ENABLED=0 go build -trimpath -o firehosed ./cmd/firehosed

test:
	go test ./...

race:
	go test -race ./...

fuzz:
	bash .ci/fuzz

lint:
	golangci-lint run ./...

up:
	integration/components/up.sh kafka s3 rest rest-s3 postgres readers clickhouse

down:
	integration/components/down.sh

integration: up
	bash .ci/run checker real

ci:
	bash .ci/run
