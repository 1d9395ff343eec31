// Command pod is what the tests run in pods: without arguments a server that says who answers whom, with arguments a
// small tool.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 1 {
		serve()
		return
	}
	if err := tool(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers with its own name, node and the client's address until it is told to end.
func serve() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("serving as", os.Getenv("POD_NAME"))
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv("POD_NAME"), os.Getenv("NODE_NAME"), r.RemoteAddr)
	})}
	go func() {
		<-ctx.Done()
		fmt.Println("ending on request")
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Println(err)
		os.Exit(1)
	}
}

func tool(name string, args []string) error {
	switch name {
	case "get": // URL COUNT: each on a connection of its own
		count, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for range count {
			if err := get(args[0]); err != nil {
				return err
			}
		}
	case "cat":
		data, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(data)
		return err
	case "copy": // standard input to standard output
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "env":
		fmt.Println(os.Getenv(args[0]))
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	default:
		return fmt.Errorf("no tool %q", name)
	}
	return nil
}

func get(url string) error {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
