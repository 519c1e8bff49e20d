// Package telemetry turns what pipelines report into Prometheus metrics and log
// lines.
//
// What moves has a counter, what waits has a gauge, and a name ends in its unit.
// The law of conservation is among them: per sink of a pipeline,
//
//	units in = rows laid out + dead letters + units dropped by a named rule
//
// and firehosed_unaccounted_units is the difference. Per table, dead letters among
// them, and with what was read again counted again,
//
//	rows taken = rows committed + rows pending + rows let go, to be read again
//
// and firehosed_unaccounted_rows is the difference. Anything but 0 that lasts is
// a defect of firehosed: the alarms to have before all others. deploy/alerts.yaml
// has them as Prometheus rules.
package telemetry
