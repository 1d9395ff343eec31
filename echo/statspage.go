package echo

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// statsQuery is what a request for /stats asks for.
type statsQuery struct {
	from, limit int
	compact     bool
}

// parseStatsQuery reads the parameters from, limit and rows. Others are ignored.
func parseStatsQuery(rawQuery string) (statsQuery, error) {
	q := statsQuery{limit: DefaultRows}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return q, fmt.Errorf("parsing the query: %w", err)
	}
	if err := parameter(query, "from", "what the answer before called next", &q.from, strconv.Atoi, func(n int) bool { return n >= 0 && n <= maxRows }); err != nil {
		return q, err
	}
	if err := parameter(query, "limit", "a number of rows from 0 to "+strconv.Itoa(maxRows), &q.limit, strconv.Atoi, func(n int) bool { return n >= 0 && n <= maxRows }); err != nil {
		return q, err
	}
	switch rows := query.Get("rows"); rows {
	case "", "full":
	case "compact":
		q.compact = true
	default:
		return q, fmt.Errorf("rows=%s: want full or compact", rows)
	}
	return q, nil
}

// serveStats answers with what was counted so far.
func (s *Server) serveStats(x *exchange) {
	query, err := parseStatsQuery(x.r.URL.RawQuery)
	if err != nil {
		x.plain(http.StatusBadRequest, err.Error())
		return
	}
	if query.compact {
		x.json(s.rows(x, query))
		return
	}
	stats := s.ledger.stats(query.from, query.limit)
	stats.Pod, stats.Node = x.face.identity.Pod, x.face.identity.Node
	stats.Since, stats.Seconds, stats.Usage = s.started, time.Since(s.started).Seconds(), s.usage()
	stats.Accepted, stats.Open, stats.Garbage = s.accepted.Load(), s.open.Load(), s.garbage.Load()
	x.json(stats)
}

// rows returns the compact answer.
func (s *Server) rows(x *exchange, query statsQuery) Rows {
	page, next := s.ledger.page(query.from, query.limit)
	totals := s.ledger.totals()
	rows := Rows{
		Pod: x.face.identity.Pod, Node: x.face.identity.Node, Seconds: time.Since(s.started).Seconds(), Usage: s.usage(),
		Requests: totals.Requests, Connections: totals.Connections, Rows: make([]Row, len(page)),
		Next: next, Truncated: totals.Truncated.Connections,
	}
	for i, u := range page {
		rows.Rows[i] = Row{Connection: u.connection, Client: u.client, Protocol: u.protocol, Requests: u.requests.Load()}
	}
	return rows
}
