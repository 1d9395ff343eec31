package loadgen

import (
	"iter"

	"github.com/podskew/podskew/record"
)

// Estimates of how much JSON a row makes, in bytes. They bound lines, so they are on the high side for usual rows and the
// limit on a line leaves room for unusual ones.
const (
	rowWeight    = 400
	nameWeight   = 64
	bucketWeight = 24
	sampleWeight = 200
)

func connectionWeight(c record.Connection) int { return rowWeight + nameWeight*len(c.Others) }

func tallyWeight(t record.Tally) int { return rowWeight + bucketWeight*len(t.Latency.Buckets) }

// batches parts rows into runs that fit a message, none of them empty.
func batches[T any](rows []T, weight func(T) int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		from, sum := 0, 0
		for i, row := range rows {
			w := weight(row)
			if i > from && (sum+w > maxMessage || i-from == maxMessageRows) {
				if !yield(rows[from:i]) {
					return
				}
				from, sum = i, 0
			}
			sum += w
		}
		if from < len(rows) {
			yield(rows[from:])
		}
	}
}
