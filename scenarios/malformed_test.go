package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// malformed returns the files of testdata/malformed, as people really write them.
func malformed(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "malformed", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("%d malformed files, want 30", len(files))
	}
	return files
}

// TestMalformedFiles compares what is said about each file with the text beside it: where it is wrong and what to write.
func TestMalformedFiles(t *testing.T) {
	for _, path := range malformed(t) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(name, text)
			if err == nil {
				t.Fatal("accepted")
			}
			document(t, strings.TrimSuffix(path, ".yaml")+".txt", []byte(err.Error()+"\n"))
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok {
				t.Fatalf("%T: want an InvalidError", err)
			}
			for _, p := range invalid.Problems {
				if p.File != name || p.Line < 1 || p.Column < 1 || p.Message == "" {
					t.Errorf("a problem without its place: %+v", p)
				}
			}
		})
	}
}

// collectFields notes every "Type.field" of scenario files.
func collectFields(into map[string]bool) { fieldsOf(reflect.TypeFor[Scenario](), into) }

func fieldsOf(t reflect.Type, into map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" {
			into[t.Name()+"."+name] = true
			fieldsOf(field.Type, into)
		}
	}
}
