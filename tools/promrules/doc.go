// Package promrules tries the alert and recording rules in deploy/prometheus: its test
// reads them as Prometheus does, and runs each on series that must set it off, and all
// of them on a day on which nothing is wrong. It holds no code to call.
package promrules
