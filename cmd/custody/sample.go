package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/evidence"
)

// sampleFlags are the flags of evidence sample.
type sampleFlags struct {
	population string
	seed       uint64
	count      int
}

func (a *app) evidenceSample() *cobra.Command {
	var f sampleFlags
	cmd := &cobra.Command{
		Use:   "sample FILE",
		Short: "Draw an auditor's sample from a population, the same for the same seed",
		Long: "Draw rows from a population at random, in a way that anybody can repeat. FILE is a bundle, or the population's own file\n" +
			"in CSV. A row's rank is the SHA-256 of \"custody/sample/v1\", a zero byte, the seed (8 bytes), the length of the\n" +
			"population's name (4), the name, and the number of the row (8); the rows of the lowest ranks are drawn. Choose the seed after\n" +
			"you got the bundle. No server is asked. That the population is that of the records is for custody-verify to say: run it first.",
		Example: "  custody evidence sample q1.evb --population approvals --seed 4711 --count 25",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := f.draw(args[0])
			if err != nil {
				return err
			}
			if a.format != formatTable {
				return a.printJSON(sampleJSON(s))
			}
			printSample(a.out, s)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.population, "population", "", "population, by the name of its file (required)")
	fl.Uint64Var(&f.seed, "seed", 0, "number that decides which rows are drawn (required)")
	fl.IntVar(&f.count, "count", 0, "how many rows (required)")
	for _, name := range []string{"population", "seed", "count"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func (f *sampleFlags) draw(name string) (*evidence.Sample, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	s, err := evidence.DrawFrom(file, info.Size(), f.population, f.seed, f.count)
	if err != nil {
		return nil, inputError(fmt.Errorf("%s: %w", name, err), "custody-verify "+shellWord(name))
	}
	return s, nil
}

func printSample(w io.Writer, s *evidence.Sample) {
	fmt.Fprintf(w, "%d of %d rows of %s, seed %d\n", len(s.Picked), s.Rows, plain(s.Population, maxWord), s.Seed)
	if !s.Manifest.IsZero() {
		fmt.Fprintf(w, "from the bundle whose list of files is %s\n", s.Manifest)
	}
	for _, r := range s.Picked {
		fmt.Fprintf(w, "\nrow %d\n", r.Number)
		for i, cell := range r.Cells {
			if cell != "" {
				fmt.Fprintf(w, "  %-18s %s\n", plain(s.Header[i], maxWord), plain(cell, 0))
			}
		}
	}
}

func sampleJSON(s *evidence.Sample) object {
	rows := make([]object, len(s.Picked))
	for i, r := range s.Picked {
		rows[i] = object{{"row", r.Number}}
		for column, cell := range r.Cells {
			rows[i] = append(rows[i], member{s.Header[column], cell})
		}
	}
	return object{
		{"population", s.Population},
		{"seed", s.Seed},
		{"rows", s.Rows},
		{"manifest_sha256", s.Manifest.String()},
		{"picked", rows},
	}
}
