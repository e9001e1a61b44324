// Package traces holds the acceptance test of evidence on real traces: a bundle of a whole imported tenant and one of a single run
// in it, each verified as complete by both verifiers. It runs the programs as an operator and an auditor do, and needs the folder of
// traces that docs/DATA.md describes. `make interop` runs it.
package traces
