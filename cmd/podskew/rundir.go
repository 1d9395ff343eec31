package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/report"
	"github.com/podskew/podskew/scenarios"
)

// The files of a run's folder. The record's name says that it is compressed, so that zcat, less and
// editors treat it right.
const (
	scenarioFile = "scenario.yaml"
	recordFile   = "record.jsonl.gz"
	reportFile   = "report.json"
	htmlFile     = "report.html"
	junitFile    = "junit.xml"
)

// runDir is the folder one run leaves behind.
type runDir struct {
	path   string
	file   *os.File
	record *record.Writer
}

// createRunDir makes runs/<id>/ with the scenario, if there is one, and an open record.
func createRunDir(runs string, s *scenarios.Scenario, run record.Run) (*runDir, error) {
	d := &runDir{path: filepath.Join(runs, run.ID)}
	fail := func(err error) (*runDir, error) {
		return nil, environmentError(fmt.Errorf("making the run's folder: %w", err), "--runs-dir puts it elsewhere")
	}
	if err := os.MkdirAll(d.path, 0o755); err != nil { //nolint:gosec // reports are for others to read
		return fail(err)
	}
	if s != nil {
		text, err := scenarios.Marshal(s)
		if err != nil {
			return fail(err)
		}
		if err := os.WriteFile(filepath.Join(d.path, scenarioFile), text, 0o644); err != nil { //nolint:gosec // as above
			return fail(err)
		}
	}
	var err error
	if d.file, err = os.Create(filepath.Join(d.path, recordFile)); err != nil {
		return fail(err)
	}
	if d.record, err = record.NewWriter(d.file, run); err != nil {
		return fail(errors.Join(err, d.file.Close()))
	}
	return d, nil
}

// close ends the record.
func (d *runDir) close() error {
	return errors.Join(d.record.Close(), d.file.Close())
}

// writeReports leaves report.json, report.html and junit.xml beside the record.
func (d *runDir) writeReports(rep *analyze.Report) error {
	for name, render := range map[string]func(io.Writer, *analyze.Report) error{
		reportFile: report.JSON, htmlFile: report.HTML, junitFile: report.JUnit,
	} {
		var buf bytes.Buffer
		if err := render(&buf, rep); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d.path, name), buf.Bytes(), 0o644); err != nil { //nolint:gosec // as above
			return environmentError(fmt.Errorf("writing the report: %w", err), "")
		}
	}
	return nil
}

// loadRun reads a run to analyze: a run's folder, a record's file, or - for a record on stdin.
// The scenario is nil where only a record is given.
func loadRun(e *env, arg string) (*record.Record, *scenarios.Scenario, error) {
	if arg == "-" {
		rec, err := readRecord(e.stdin, "standard input")
		return rec, nil, err
	}
	info, err := os.Stat(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usageError("%s: there is no such run folder or record", arg)
	}
	if err != nil {
		return nil, nil, usageError("%w", err)
	}
	if !info.IsDir() {
		rec, err := readRecordFile(arg)
		return rec, nil, err
	}
	rec, err := readRecordFile(filepath.Join(arg, recordFile))
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(arg, scenarioFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil, nil
	}
	if err != nil {
		return nil, nil, usageError("%w", err)
	}
	s, err := scenarios.Load(path, text)
	if err != nil {
		return nil, nil, &exitError{err: err, code: exitUsage}
	}
	return rec, s, nil
}

func readRecordFile(path string) (*record.Record, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("%s: not a run's folder: it has no %s", filepath.Dir(path), filepath.Base(path))
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	defer func() { _ = f.Close() }()
	return readRecord(f, path)
}

func readRecord(r io.Reader, name string) (*record.Record, error) {
	rec, cut, err := record.ReadWith(r, record.ReadOptions{LatenciesOnly: true})
	if err != nil {
		return nil, usageError("%s: %w", name, err)
	}
	if cut {
		rec.End = endOfCut(rec)
	}
	return rec, nil
}

// endOfCut is the end of a record that has none: its last sign of life.
func endOfCut(rec *record.Record) *record.End {
	end := &record.End{Interrupted: true, Problems: []string{"the record was cut before the run ended: what follows is the part that was saved"}}
	for _, c := range rec.Connections {
		end.Seconds = max(end.Seconds, c.Opened, c.Closed)
	}
	for _, t := range rec.Tallies {
		end.Seconds = max(end.Seconds, float64(t.Second+1))
	}
	return end
}
