package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// takeLoadTime returns the processor time from the first request to the last as the one record in a folder has it, and
// removes the folder.
func takeLoadTime(folder string) (of time.Duration, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	records, err := filepath.Glob(filepath.Join(folder, "*", "record.jsonl.gz"))
	if err != nil || len(records) != 1 {
		return 0, fmt.Errorf("%d records where one was to be: %w", len(records), err)
	}
	file, err := os.Open(records[0])
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lines, err := gzip.NewReader(file)
	if err != nil {
		return 0, err
	}
	for decoder := json.NewDecoder(lines); ; {
		var line struct {
			Generator struct{ CPUSeconds float64 }
		}
		switch err := decoder.Decode(&line); {
		case errors.Is(err, io.EOF):
			return 0, errors.New("the record does not say what the load cost")
		case err != nil:
			return 0, err
		case line.Generator.CPUSeconds > 0:
			return time.Duration(line.Generator.CPUSeconds * float64(time.Second)), nil
		}
	}
}
