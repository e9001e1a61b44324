package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	// configName is the engine's configuration in its folder, written at every
	// start. Without one the engine would take a config.xml that happens to lie
	// in the working directory, and fail on one that is not its own.
	configName = "engine.xml"

	// mostMergeThreads merge parts in the background on a large machine, half as many as processors on a smaller one: all of a
	// merge is work that nobody waits for, and who has a processor keeps it for some milliseconds. Each merges two parts at a time.
	mostMergeThreads = 4
	// smallMergeSlots is how many merges at a time must be possible yet for one of any size to begin: with one fewer it is some hundred
	// megabytes at most, so that the parts of new blocks do not wait for hours behind the largest.
	smallMergeSlots = 2
	// keepFree is how many bytes of the disk the engine leaves free: below it
	// inserts fail and merges do not begin. A merge that meets the end of the disk
	// does not fail: it leaves a part of empty files, which is found broken at the
	// next start. (libchdb 26.5)
	keepFree = 64 << 20
	// cacheShare is the divisor that bounds each of the caches of marks and
	// primary keys, which otherwise may outgrow the memory bound.
	cacheShare = 8
)

// serverConfig is the configuration that is not per statement. Unless NoSync is
// set, tables are durable by default: a part is on disk before its insert
// returns, and a merged one before those that it replaces are removed, which
// the library does at once (old_parts_lifetime is 0 in it).
func serverConfig(cfg Config) string {
	b, fsync, threads := new(strings.Builder), 1, mergeThreads(runtime.NumCPU())
	if cfg.NoSync {
		fsync = 0
	}
	b.WriteString("<clickhouse>\n")
	for _, s := range []struct {
		name  string
		value int64
	}{
		{"max_server_memory_usage", cfg.MaxMemory},
		{"mark_cache_size", cfg.MaxMemory / cacheShare},
		{"index_mark_cache_size", cfg.MaxMemory / cacheShare},
		{"primary_index_cache_size", cfg.MaxMemory / cacheShare},
		{"background_pool_size", threads},
	} {
		fmt.Fprintf(b, "  <%s>%d</%s>\n", s.name, s.value, s.name)
	}
	fmt.Fprintf(b, `  <storage_configuration><disks><default>
    <keep_free_space_bytes>%[3]d</keep_free_space_bytes>
  </default></disks></storage_configuration>
  <merge_tree>
    <fsync_after_insert>%[2]d</fsync_after_insert>
    <fsync_part_directory>%[2]d</fsync_part_directory>
    <min_rows_to_fsync_after_merge>%[2]d</min_rows_to_fsync_after_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>%[1]d</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>%[4]d</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>%[1]d</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
`, max(1, threads/2), fsync, keepFree, smallMergeSlots)
	return b.String()
}

// mergeThreads is for a machine with so many processors.
func mergeThreads(processors int) int64 { return int64(min(max(1, processors/2), mostMergeThreads)) }

// arguments writes the configuration and returns the engine's command line.
func arguments(cfg Config) ([]string, error) {
	path := filepath.Join(cfg.Path, configName)
	if err := os.WriteFile(path, []byte(serverConfig(cfg)), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return []string{"clickhouse", "--path=" + cfg.Path, "--config-file=" + path}, nil
}
