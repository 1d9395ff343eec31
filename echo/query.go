package echo

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// MaxDelay is the longest delay that a request may ask for.
	MaxDelay = time.Minute
	// MaxSize is the largest body that a request may ask for, in bytes.
	MaxSize = 1 << 20
)

// wishes are what the query of a request asks of its answer.
type wishes struct {
	delay time.Duration // 0 to MaxDelay
	// status is the answer's status: 200 unless asked otherwise.
	status int
	// fail is the share of requests that get that status (503 unless asked otherwise) while the rest get 200. Negative:
	// no share was given.
	fail  float64
	close bool
	size  int // the least size of the body in bytes, 0 to MaxSize
}

// parseWishes reads the parameters delay, status, fail, close and size. Others are ignored, so that clients can make URLs
// unique. Of a parameter that comes more than once the first counts.
func parseWishes(rawQuery string) (wishes, error) {
	w := wishes{status: http.StatusOK, fail: -1}
	if rawQuery == "" {
		return w, nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return w, fmt.Errorf("parsing the query: %w", err)
	}
	err = errors.Join(
		parameter(query, "delay", "a duration from 0s to "+MaxDelay.String(), &w.delay, time.ParseDuration,
			func(d time.Duration) bool { return d >= 0 && d <= MaxDelay }),
		parameter(query, "fail", "a share from 0 to 1", &w.fail, parseFloat,
			func(f float64) bool { return f >= 0 && f <= 1 }), // which NaN is not
		parameter(query, "status", "a status from 200 to 599", &w.status, strconv.Atoi,
			func(n int) bool { return n >= 200 && n <= 599 }),
		parameter(query, "close", "true or false", &w.close, strconv.ParseBool, func(bool) bool { return true }),
		parameter(query, "size", "a number of bytes from 0 to "+strconv.Itoa(MaxSize), &w.size, strconv.Atoi,
			func(n int) bool { return n >= 0 && n <= MaxSize }),
	)
	if w.fail >= 0 && query.Get("status") == "" {
		w.status = http.StatusServiceUnavailable
	}
	return w, err
}

// parameter parses one parameter, if the query has it, into *to.
func parameter[T any](query url.Values, name, want string, to *T, parse func(string) (T, error), ok func(T) bool) error {
	text := query.Get(name)
	if text == "" {
		return nil
	}
	value, err := parse(text)
	if err != nil || !ok(value) {
		return fmt.Errorf("%s=%s: want %s", name, text, want)
	}
	*to = value
	return nil
}

func parseFloat(text string) (float64, error) {
	return strconv.ParseFloat(text, 64)
}
