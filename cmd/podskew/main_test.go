package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden sections of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"podskew": main})
}

// TestScript pins what the command line says: each script is a session a user could have had, without a cluster.
func TestScript(t *testing.T) {
	testdata, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TESTDATA", testdata+"/testdata")
			e.Setenv("PODSKEW_LAB", "/nonexistent/podskew-lab")
			if strings.HasSuffix(e.WorkDir, "script-load") {
				serveLoad(e)
			}
			return nil
		},
	})
}
