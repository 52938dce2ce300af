// Command loadgen loads a registry as its clients do, and says in one line of JSON how that went.
//
//	loadgen push       images: their blobs, then their manifests
//	loadgen manifests  many manifests over the same small blobs
//	loadgen pull       one image by many clients at once
//	loadgen get        every path of a list, once
//	loadgen head       one path by HEAD, again and again
//
// It is a program of its own, compiled and without dependencies, so that it takes little of the machine that it shares
// with the server.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

var commands = map[string]func(*flag.FlagSet, []string) (*Outcome, error){
	"push":      push,
	"manifests": pushManifests,
	"pull":      pull,
	"get":       get,
	"head":      head,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: loadgen push|manifests|pull|get|head -url URL …")
		os.Exit(2)
	}
	name := os.Args[1]
	outcome, err := commands[name](flag.NewFlagSet(name, flag.ExitOnError), os.Args[2:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "loadgen %s: %v\n", name, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcome); err != nil {
		os.Exit(1)
	}
}
