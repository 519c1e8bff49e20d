// Package consumer has what sources share: how they account for memory, and how a
// lane has one reader at a time.
package consumer
