package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/ingest"
)

// ingestOptions say how to read what another tool recorded.
type ingestOptions struct {
	from      string
	logFormat string
	fields    ingest.Fields
}

func (o *ingestOptions) flags(cmd *cobra.Command) {
	var formats []string
	for _, f := range ingest.Formats() {
		formats = append(formats, string(f))
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "what another tool recorded, in this format: "+strings.Join(formats, ", ")+" (default: found out)")
	f.StringVar(&o.logFormat, "log-format", "", "nginx's log_format that the log was written with, on one line (default ingress-nginx's)")
	f.StringVar(&o.fields.Backend, "backend-field", "", "the field that names the backend: a path of names joined by dots, a column, a variable without its dollar")
	f.StringVar(&o.fields.Client, "client-field", "", "the field with the client's address")
	f.StringVar(&o.fields.Connection, "connection-field", "", "a field that requests of one connection have in common")
	f.StringVar(&o.fields.Time, "time-field", "", "the field with the time of the request")
	f.StringVar(&o.fields.Status, "status-field", "", "the field with the HTTP status")
	f.StringVar(&o.fields.Latency, "latency-field", "", "the field with the latency: seconds, or a number with a unit")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// given reports whether any flag says that another tool's data come.
func (o *ingestOptions) given() bool { return *o != ingestOptions{} }

// analyzeLog analyzes what another tool recorded. backends is how many there are, 0 if nobody said.
func (e *env) analyzeLog(in io.Reader, name string, backends int, o *ingestOptions, out *outputs) error {
	rec, account, err := ingest.Read(in, ingest.Options{
		Format: ingest.Format(o.from), LogFormat: o.logFormat, Fields: o.fields, Name: name, Backends: backends,
	})
	if err != nil {
		return &exitError{err: err, code: exitUsage, hint: "docs/logs.md shows the formats and how fields are named"}
	}
	f := account.Fields
	e.note("%s: %s, %s, backend from %q%s%s", name, account.Format, count(account.Requests, "request"), f.Backend, from("client", f.Client), from("connection", f.Connection))
	if account.Malformed > 0 {
		p := account.Problems[0]
		e.note("%s: %d of %d lines could not be read; line %d: %s: %s", name, account.Malformed, account.Lines, p.Line, p.Why, p.Text)
	}
	return e.reportOn(rec, nil, out)
}

func from(what, field string) string {
	if field == "" {
		return ""
	}
	return fmt.Sprintf(", %s from %q", what, field)
}

// note prints a line on stderr.
func (e *env) note(format string, args ...any) {
	_, _ = fmt.Fprintf(e.stderr, format+"\n", args...)
}
