package analyze

import "github.com/podskew/podskew/record"

// Collect merges what the agents of a record tallied and counts the units, as far as an analysis goes before its tests.
func Collect(rec *record.Record) error {
	_, err := collect(rec)
	return err
}
