package loadgen

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"github.com/podskew/podskew/echo"
)

// identity is what a driver reads of an echo pod's answer in JSON.
type identity struct {
	pod, client, serverConn string
	requestID               string
}

// parseIdentity reads an answer: one JSON value in which everything else is ignored.
func parseIdentity(answer []byte) (identity, error) {
	var reply struct {
		Pod        string      `json:"pod"`
		Client     echo.Client `json:"client"`
		Connection uint64      `json:"connection"`
		RequestID  string      `json:"requestID"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil {
		return identity{}, parseError("the answer is not that of an echo pod: " + err.Error())
	}
	id := identity{pod: reply.Pod, requestID: reply.RequestID}
	if addr, err := netip.ParseAddr(reply.Client.Address); err == nil {
		id.client = netip.AddrPortFrom(addr, reply.Client.Port).String()
	}
	if reply.Connection > 0 {
		id.serverConn = strconv.FormatUint(reply.Connection, 10)
	}
	return id, nil
}

// credit notes in from who answered.
func (id identity) credit(from *attribution, n *names) error {
	return from.set([]byte(id.pod), []byte(id.client), []byte(id.serverConn), n)
}

// jsonMember returns the string or number at a path in a JSON body, names joined by dots; "" if there is none.
func jsonMember(body []byte, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) != nil {
			return ""
		}
		body = object[name]
	}
	var number json.Number
	var text string
	switch {
	case json.Unmarshal(body, &text) == nil:
		return text
	case json.Unmarshal(body, &number) == nil:
		return number.String()
	}
	return ""
}
