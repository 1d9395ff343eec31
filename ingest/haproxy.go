package ingest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/podskew/podskew/record"
)

// haproxy reads HAProxy's httplog and tcplog, with or without what syslog puts before them:
//
//	10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 …
//	10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/srv1 0/0/5007 212 …
type haproxy struct {
	clock clock
	tcp   bool // as the last line said
}

func (h *haproxy) fields() Fields {
	return Fields{Backend: "backend/server", Client: "client", Time: "accept date", Status: "status", Latency: "last timer"}
}

func (h *haproxy) unit() record.Unit {
	if h.tcp {
		return record.UnitConnection
	}
	return record.UnitRequest
}

var errHAProxy = errors.New("no client:port [date] frontend backend/server timers in it")

func (h *haproxy) parse(line []byte, e *entry) error {
	before, rest, found := bytes.Cut(line, []byte(" ["))
	for found && !isAddress(word(before)) { // syslog's own brackets come before
		var more []byte
		more, rest, found = bytes.Cut(rest, []byte(" ["))
		before = more
	}
	date, rest, closed := bytes.Cut(rest, []byte("] "))
	if !found || !closed {
		return errHAProxy
	}
	f := bytes.Fields(rest)
	if len(f) < 4 {
		return errHAProxy
	}
	_, server, named := bytes.Cut(f[1], []byte("/"))
	timers := bytes.Split(f[2], []byte("/"))
	if !named || len(timers) < 2 {
		return errHAProxy
	}
	e.client = host(word(before))
	if !bytes.Equal(server, []byte("<NOSRV>")) {
		e.backend = server
	} else {
		e.failed = record.ErrOther
	}
	var err error
	if e.at, err = h.clock.parse(date); err != nil {
		return err
	}
	h.tcp = len(timers) < 4
	if !h.tcp {
		if e.status, err = status(bytes.TrimPrefix(f[3], []byte("-"))); err != nil {
			return err
		}
	}
	ms, err := number(bytes.TrimPrefix(timers[len(timers)-1], []byte("+")))
	if err != nil {
		return fmt.Errorf("timers: %w", err)
	}
	if ms >= 0 {
		e.latency = ms / 1000
	}
	return nil
}

// word returns the last word.
func word(text []byte) []byte { return text[bytes.LastIndexByte(text, ' ')+1:] }
