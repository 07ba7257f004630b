// The oracle answers questions about device allocation with the library that kube-scheduler uses.
//
// Each subcommand reads JSON, one document a line, from standard input and writes one line for each to standard output,
// in order, at once: a caller may keep one process and ask it as often as it likes. README.md has the formats.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// answerer turns one line of input into something that is written as one line of JSON.
type answerer func(line []byte) (any, error)

var subcommands = map[string]answerer{
	"allocate": answerCase,
	"bench":    answerBench,
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: oracle allocate|bench|cel|bench-cel  (JSON lines on standard input and output, see README.md)")
	}
	flag.Parse()
	answer, known := subcommands[flag.Arg(0)]
	if !known || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(os.Stdin, os.Stdout, answer); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// serve ends with the input, or with the first line that cannot be answered.
func serve(in io.Reader, out io.Writer, answer answerer) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriterSize(out, 1<<20)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if len(line) > 1 {
			answer, err := answer(line)
			if err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			if err := encoder.Encode(answer); err != nil {
				return err
			}
			// More input at hand: the answers can wait for each other. None: somebody may be waiting for this one.
			if reader.Buffered() == 0 {
				if err := writer.Flush(); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return writer.Flush()
		}
		if err != nil {
			return err
		}
	}
}
