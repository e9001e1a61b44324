package main

import "os"

// longStep is how much of a long file is on its way to the disk at a time, in bytes.
const longStep = 8 << 20

// longFile is a file that is written from its beginning to its end and may be larger than the memory. What it has been given goes to the
// disk while more comes, and then out of the page cache: the sync at the end has little left, and nothing that others read makes way.
type longFile struct {
	*os.File
	size, begun int64 // bytes written, and those of them that the kernel was told to write
}

func (f *longFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	for f.size += int64(n); f.size-f.begun >= longStep; f.begun += longStep {
		startWriting(f.File, f.begun, longStep)
		if f.begun > 0 {
			letGo(f.File, f.begun-longStep, longStep)
		}
	}
	return n, err
}
