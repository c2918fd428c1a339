"""Deliberate faults: small changes of the library, each of which some test has to notice.

A test that passes proves little until it is seen to fail. `tests/run_mutations.py` makes these changes one at a time in
a copy of the project and runs the tests named beside them. The faults are those that one makes: off by one, swapped
arguments, a state that is not put back, a missing break. None leaves the behaviour as it was.

To add one: the text has to stand in the file exactly once, the new one must do harm, and the tests should be few.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """`old` becomes `new` in mlp_lib/`file`; `harm` is what a learner would suffer, `tests` are to notice it."""

    file: str
    old: str
    new: str
    harm: str
    tests: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(file: str, old: str, new: str, harm: str, *tests: str) -> None:
    """Enter one; a test is written without its folder, and without its ending: "data::test_name"."""
    paths = tuple("tests/test_" + test.replace("::", ".py::", 1) for test in tests)
    FAULTS.append(Fault(file, old, new, harm, tuple(p if ".py" in p else p + ".py" for p in paths)))


# ---- words to tensors ------------------------------------------------------------------------------------------------

fault(
    "data.py", "row[ends - (block_size - k)]", "row[ends - (k + 1)]",
    "every context is spelled backwards", "data::test_one_word_worked_out",
)  # fmt: skip
fault(
    "data.py", "shuffled = _check_words(words)", "shuffled = words",
    "the reader's own list is shuffled, and each run of the cell gives another split",
    "data::test_split_is_the_same_every_time_and_leaves_the_list_and_the_global_generator_alone",
)  # fmt: skip
fault(
    "data.py", "shuffled[:n1], shuffled[n1:n2], shuffled[n2:]", "shuffled[:n1], shuffled[n1 + 1 : n2], shuffled[n2:]",
    "one name is in no split",
    "data::test_split_is_the_same_every_time_and_leaves_the_list_and_the_global_generator_alone",
)  # fmt: skip
fault(
    "data.py", "random.Random(seed).shuffle(shuffled)", "random.seed(seed) or random.shuffle(shuffled)",
    "splitting the words changes what the reader's own random numbers are",
    "data::test_split_is_the_same_every_time_and_leaves_the_list_and_the_global_generator_alone",
)  # fmt: skip
fault(
    "data.py", "train, dev, test = split_words(words, seed=seed)", "train, test, dev = split_words(words, seed=seed)",
    "the test set is used to choose with", "parity::test_splits",
)  # fmt: skip
fault(
    "data.py", 'symbols = sorted(set("".join(words)))', 'symbols = list(dict.fromkeys("".join(words)))',
    "e is symbol 1, and no index is the video's", "parity::test_vocabulary",
)  # fmt: skip
fault(
    "data.py", "if len(vocab) - 1 > torch.iinfo(dtype).max:", "if len(vocab) - 2 > torch.iinfo(dtype).max:",
    "in a small integer type the last symbol becomes the first", "data::test_build_dataset_refuses",
)  # fmt: skip
fault(
    "data.py", "if indices.min() < 0 or any(BOUNDARY in w for w in words):", "if indices.min() < 0:",
    "a word with a dot in it ends in the middle", "data::test_build_dataset_refuses",
)  # fmt: skip
fault(
    "data.py", 'unicodedata.normalize("NFC", ', 'unicodedata.normalize("NFD", ',
    "a letter with an accent is two symbols", "data::test_accents_written_in_two_ways_are_one_symbol",
)  # fmt: skip
fault(
    "data.py", 'return _checked(cached.read_bytes(), str(cached), "delete it and it is fetched anew")',
    "return cached.read_bytes()",
    "a cache that was cut off is taken for the lecture's list",
    "data::test_a_damaged_cache_says_what_to_delete",
)  # fmt: skip
fault(
    "data.py", "Path(temporary).unlink(missing_ok=True)", "pass",
    "each call on a full disk leaves another piece of a download",
    "data::test_a_failed_move_leaves_nothing_half_written", "full_disk::test_a_download_that_cannot_be_kept_is_used",
)  # fmt: skip
fault(
    "data.py", "os.replace(temporary, path)", "path.write_bytes(content)",
    "an interrupt leaves half of the lecture's list in the cache", "data::test_downloaded_once_then_cached",
)  # fmt: skip

# ---- the network -----------------------------------------------------------------------------------------------------

fault(
    "model.py", "joined = emb.view(emb.shape[0], self.W1.shape[0])",
    "joined = emb.transpose(1, 2).reshape(emb.shape[0], -1)",
    "the three embeddings are interleaved: it trains, to other losses than the video's",
    "parity::test_first_losses_of_the_last_model", "model::test_trace_is_the_forward_pass_and_its_stages",
)  # fmt: skip
fault(
    "model.py", "h = torch.tanh(joined @ self.W1 + self.b1)", "h = torch.tanh(joined @ self.W1)",
    "the hidden layer has no bias, and b1 never learns", "model::test_trace_is_the_forward_pass_and_its_stages",
)  # fmt: skip
fault(
    "model.py",
    "self.b1 = randn(config.n_hidden)\n        self.W2 = randn(config.n_hidden, config.vocab_size)",
    "self.W2 = randn(config.n_hidden, config.vocab_size)\n        self.b1 = randn(config.n_hidden)",
    "the video's seed gives another network", "parity::test_initial_tensors_and_their_count",
)  # fmt: skip
fault(
    "model.py", "for part, training in modes:\n            part.training = training", "model.train()",
    "a layer that the reader had frozen in evaluation mode drops out again after one look at the loss",
    "model::test_looking_at_restores_the_mode_of_every_part_even_after_an_error",
)  # fmt: skip
fault(
    "model.py", "with torch.no_grad():\n            yield", "with torch.enable_grad():\n            yield",
    "every evaluation keeps the whole graph: the memory fills up",
    "model::test_looking_at_restores_the_mode_of_every_part_even_after_an_error",
)  # fmt: skip
fault(
    "model.py", "model.C, model.W1, model.b1 = nn.Parameter(C),",
    "model.C, model.W1, model.b1 = nn.Parameter(C.clone()),",
    "the notebook's C is not the one that is trained", "model::test_from_tensors_shares_storage",
)  # fmt: skip

# ---- the loop --------------------------------------------------------------------------------------------------------

fault(
    "train.py", "yield Step(i, lr, loss.item())", "yield Step(i, lr, F.cross_entropy(model(Xb), Yb).item())",
    "the first loss is no longer the untrained one", "train::test_the_loss_is_measured_before_the_update",
)  # fmt: skip
fault(
    "train.py", "if p.grad is not None:\n                    p.data += -lr",
    "if p.grad is not None:\n                    p.data += lr",
    "the loss climbs", "train::test_plain_sgd_of_torch_is_the_same_update",
)  # fmt: skip
fault(
    "train.py", "for p in parameters:\n                p.grad = None\n            if not", "if not",
    "the gradients of all steps add up", "parity::test_300_steps_bit_for_bit",
)  # fmt: skip
fault(
    "train.py", "range(start, start + steps), rate, batch_size, optimizer", "range(steps), rate, batch_size, optimizer",
    "a run that goes on starts its decay anew", "train::test_step_numbers_go_on_from_start",
)  # fmt: skip
fault(
    "train.py", "torch.randint(0, X.shape[0], (batch_size,)", "torch.randint(0, X.shape[0] - 1, (batch_size,)",
    "the last example is never drawn, and the batches are not the video's", "parity::test_300_steps_bit_for_bit",
)  # fmt: skip
fault(
    "train.py", "total += losses.cpu().double().sum().item()",
    "total += losses.cpu().double().mean().item() * _EVAL_ROWS",
    "the loss of a split depends on how it was cut", "train::test_eval_loss_in_pieces_is_exact",
)  # fmt: skip
fault(
    "train.py", "total += losses.cpu().double().sum().item()", "total += losses.sum().item()",
    "the last digits of a loss depend on how the machine adds up", "train::test_eval_loss_adds_in_float64",
)  # fmt: skip
fault(
    "train.py", "(step.i + 1) % eval_every == 0 and seen < steps", "step.i % eval_every == 0 and seen < steps",
    "each dev loss stands beside the wrong step", "train::test_history_holds_what_happened",
)  # fmt: skip
fault(
    "train.py", "history.record_losses(start + seen, ", "history.record_losses(seen, ",
    "the curve of a run that went on starts at 0 again", "train::test_history_holds_what_happened",
)  # fmt: skip
fault(
    "train.py", "                break\n            if on_step is not None:", "            if on_step is not None:",
    "a run that blew up goes on for hours",
    "train::test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step",
)  # fmt: skip
fault(
    "train.py", "for group in optimizer.param_groups:", "for group in optimizer.param_groups[:1]:",
    "a schedule moves the rate of the first group alone", "train::test_lr_is_set_on_every_group_of_the_optimizer",
)  # fmt: skip
fault(
    "train.py", "look_every = 1 if on_step is not None else eval_every", "look_every = eval_every",
    "a hook sees a model that is ahead of its step", "train::test_the_stepper_is_handed_in_and_told_who_looks",
)  # fmt: skip
fault(
    "train.py", "        history._trim()\n", "",
    "an interrupt at a bad moment leaves a record that cannot be plotted",
    "train::test_an_interrupt_between_the_step_and_its_entry_loses_nothing",
)  # fmt: skip
fault(
    "train.py", "math.isfinite(value) or value < 0:", "math.isfinite(value) or value <= 0:",
    "a rate that decays to 0 is refused at the last step", "train::test_a_rate_of_zero_is_a_rate",
)  # fmt: skip
fault(
    "train.py", "return torch.from_numpy(np.asarray(values[:]))",
    "return torch.from_numpy(np.asarray(values[:], np.float32))",
    "a loss read from the record is not the loss that was printed",
    "properties::test_a_history_holds_what_was_entered",
)  # fmt: skip

# ---- sampling --------------------------------------------------------------------------------------------------------

fault(
    "sample.py", "context = context[1:] + [ix]", "context = [ix] + context[:-1]",
    "the newest character is read as the oldest", "sample::test_the_window_slides", "parity::test_twenty_names",
)  # fmt: skip
fault(
    "sample.py", "            if len(out) == max_len:", "            if len(out) > max_len:",
    "words are one character longer than asked for", "sample::test_a_word_that_does_not_end_is_cut_and_told",
)  # fmt: skip
fault(
    "sample.py", "(logits - largest) / temperature", "(logits - largest) * temperature",
    "a low temperature makes wild names, a high one dull ones", "sample::test_temperature",
)  # fmt: skip
fault(
    "sample.py", "growing = growing[ix != 0]", "growing = growing[ix != 1]",
    "drawn together, words stop at the first a and run on after their end", "sample::test_frequencies_are_the_models",
)  # fmt: skip
fault(
    "sample.py", "indices[-model.block_size :]", "indices[: model.block_size]",
    "the probabilities are those of an empty context", "sample::test_next_char_probs_reads_the_end_of_the_context",
)  # fmt: skip
fault(
    "sample.py", "part = min(_TOGETHER, n - first)", "part = _TOGETHER",
    "20 names are asked for and 10,000 come", "sample::test_more_words_than_are_drawn_at_once",
)  # fmt: skip
fault(
    "sample.py", "worth = vocab_size ** torch.arange", "worth = (vocab_size - 1) ** torch.arange",
    "different contexts are taken for one: odd names, now and then",
    "sample::test_the_model_is_asked_once_for_each_context",
)  # fmt: skip
fault(
    "sample.py", "            if ix == 0:\n                break\n            out.append(ix)",
    "            out.append(ix)\n            if ix == 0:\n                break",
    "each name carries its dot", "sample::test_frequencies_are_the_models",
)  # fmt: skip

# ---- the compiled loop -----------------------------------------------------------------------------------------------

fault(
    "fast.py", "                g.set_state(g_before)\n", "",
    "after an interrupt the run does not go on as the plain one would",
    "fast::test_an_early_stop_leaves_what_a_shorter_run_leaves",
)  # fmt: skip
fault(
    "fast.py", "handed_out = s + 1  # set first",
    "handed_out = s  # set first",
    "leaving the loop undoes the step that was seen", "fast::test_an_early_stop_leaves_what_a_shorter_run_leaves",
)  # fmt: skip
fault(
    "fast.py", "n = min(n, look_every - i % look_every)", "n = min(n, look_every)",
    "a dev loss is that of a later step", "fast::test_how_often_one_looks_changes_no_bit",
    "fast::test_the_model_is_up_to_date_where_one_may_look",
)  # fmt: skip
fault(
    "fast.py", "_ONE - at.h[b, j] * at.h[b, j]", "_ONE - at.h[b, j]",
    "it trains, to a worse loss", "fast::test_gradients_are_autograds",
)  # fmt: skip
fault(
    "fast.py", "grad.C[X[b, p], e] += ", "grad.C[X[b, p], e] = ",
    "a letter that stands twice in a batch learns from one place only", "fast::test_gradients_are_autograds",
)  # fmt: skip
fault(
    "fast.py", "        if learns[1]:", "        if learns[0]:",
    "a frozen embedding freezes the hidden layer too", "fast::test_tensors_without_gradients_stay_as_they_are",
)  # fmt: skip
fault(
    "fast.py", '_FLAGS = {"reassoc", "contract", "arcp", "nsz"}',
    '_FLAGS = {"reassoc", "contract", "arcp", "nsz", "nnan"}',
    "a training that blew up is no longer noticed", "fast::test_a_loss_that_blows_up_is_seen_at_its_step",
    "fast::test_one_bad_number_anywhere_does_to_the_loss_what_it_does_in_torch",
)  # fmt: skip
fault(
    "fast.py", "if not 0 <= Xb[b, p] < vocab_size:", "if not Xb[b, p] < vocab_size:",
    "a negative index writes where nothing of ours lies",
    "fast::test_data_that_goes_bad_during_the_run_overruns_nothing",
)  # fmt: skip

# ---- the sweep -------------------------------------------------------------------------------------------------------

fault(
    "sweep.py", "else copy.deepcopy(model)", "else model",
    "looking for a learning rate trains the model", "sweep::test_model_and_generators_are_untouched",
)  # fmt: skip
fault(
    "sweep.py", "generators = [copied()]", "generators = [g]",
    "after a sweep the training is another one", "sweep::test_model_and_generators_are_untouched",
)  # fmt: skip
fault(
    "sweep.py", "/ (2 * half + 1)", "/ window",
    "both ends of the curve sink to nothing, and the lowest point is there",
    "sweep::test_smoothing_is_a_centred_mean_that_narrows_at_the_ends",
)  # fmt: skip
fault(
    "sweep.py", "    lrs = 10**lre\n", "    lrs = torch.linspace(lo, hi, steps)\n",
    "nearly all of the sweep is at large rates", "sweep::test_rates_are_the_lecture_s_at_the_defaults",
)  # fmt: skip
fault(
    "sweep.py", "torch.where(torch.isnan(curves), math.inf, curves)",
    "torch.where(torch.isnan(curves), -math.inf, curves)",
    "the rate at which the run blew up is suggested", "sweep::test_the_mean_ends_with_the_first_run_that_ends",
    "sweep::test_stops_where_the_loss_has_blown_up_and_says_so",
)  # fmt: skip
fault(
    "sweep.py", "window = window // 2 * 2 + 1", "window = window // 2 * 2",
    "the mean of the curve leans to one side", "sweep::test_the_default_window_is_a_twentieth_made_odd",
)  # fmt: skip
fault(
    "sweep.py", "return self.curves.min(0).values, self.curves.max(0).values",
    "return self.curves.max(0).values, self.curves.min(0).values",
    "the band's low edge is the high one", "sweep::test_mean_band_minima_and_suggestion",
)  # fmt: skip
fault(
    "sweep.py", "losses[-window - 1] if len(losses) > window", "losses[-window] if len(losses) > window",
    "the running mean drifts, and good runs are stopped", "sweep::test_stops_where_the_loss_has_blown_up_and_says_so",
    "sweep::test_the_suggestion_on_the_whole_list_is_near_the_lecture_s_tenth",
)  # fmt: skip

# ---- many runs -------------------------------------------------------------------------------------------------------

fault(
    "experiments.py", "                torch.set_num_threads(before)", "                pass",
    "after a grid every later cell uses one core",
    "experiments::test_torchs_thread_settings_are_afterwards_what_they_were",
)  # fmt: skip
fault(
    "experiments.py", "{name: values[-1] if history", "{name: values[0] if history",
    "the losses reported are those before the training", "experiments::test_a_grid_is_its_runs_by_hand",
    "experiments::test_splits_give_train_and_dev_losses_and_leave_test_alone",
)  # fmt: skip
fault(
    "experiments.py", '"config": asdict(config), "seed": seed, "data": prints}',
    '"config": asdict(config), "data": prints}',
    "five seeds give five times the same loss, and the spread is 0",
    "experiments::test_runs_are_put_on_the_ladder_and_not_repeated",
)  # fmt: skip
fault(
    "experiments.py", '"rates": rates, "batch_size": batch_size,', '"rates": rates,',
    "another batch size gives the losses of the last one",
    "experiments::test_whatever_may_change_a_loss_makes_another_run",
)  # fmt: skip
fault(
    "experiments.py", "model = MLP(config, g=g)\n    history",
    "model = MLP(config, g=torch.Generator().manual_seed(seed))\n    history",
    "a run of the grid is not the run of the notebook with the same seed",
    "experiments::test_a_grid_is_its_runs_by_hand",
)  # fmt: skip
fault(
    "experiments.py", "raise _Stopped  # an interrupt that reached this worker: half a run is no result", "pass",
    "an interrupted run goes on the ladder as if it were whole",
    "experiments::test_a_worker_that_was_interrupted_leaves_no_half_run",
)  # fmt: skip
fault(
    "experiments.py", "if seed in seeds[:n]:", "if seed in seeds[: max(n - 1, 0)]:",
    "the same run is counted twice, and the error bar is too small",
    "experiments::test_bad_settings_are_refused_before_any_run_starts",
)  # fmt: skip

# ---- count models ----------------------------------------------------------------------------------------------------

fault(
    "baselines.py", "self.strength * n_types, 1)", "self.strength * n_context, 1)",
    "the interpolated counts lose to trigrams", "baselines::test_interpolated_is_its_formula",
)  # fmt: skip
fault(
    "baselines.py", "(n_context + self.add * self.vocab_size)", "(n_context + self.add)",
    "the probabilities do not sum to 1, and the losses are too good", "baselines::test_ngram_is_plain_counting",
)  # fmt: skip
fault(
    "baselines.py", "for k in range(X.shape[1] - context, X.shape[1]):", "for k in range(context):",
    "of a long context the oldest characters are read", "baselines::test_any_width_and_integer_type_will_do",
)  # fmt: skip
fault(
    "baselines.py", "return torch.where(keys[at] == wanted, values[at], 0).double()", "return values[at].double()",
    "what never occurred has the count of its neighbour", "baselines::test_ngram_is_plain_counting",
)  # fmt: skip
fault(
    "baselines.py", "return -(weight * p_y + (1 - weight) * q_y).log().mean().item()",
    "return -(weight * p_y.log() + (1 - weight) * q_y.log()).mean().item()",
    "the mixture is no better than the mean of the two losses", "baselines::test_a_mixture_of_a_network_and_counts",
)  # fmt: skip
fault(
    "baselines.py", "(weight, high) if gain > 0 else (low, weight)", "(weight, high) if gain < 0 else (low, weight)",
    "the best weight found is the worst", "baselines::test_the_best_weight_is_the_best_and_what_em_finds",
)  # fmt: skip
fault(
    "baselines.py", "            with looking_at(model):\n", "            with torch.no_grad():\n",
    "asking a network for probabilities leaves its dropout on",
    "baselines::test_a_module_is_looked_at_in_evaluation_mode_and_left_as_it_was",
)  # fmt: skip
fault(
    "baselines.py", ".sum()).item() / len(Y)", ".sum()).item() / len(n_pair)",
    "the floor stands above losses that were reached", "baselines::test_no_model_comes_below_the_floor_of_its_examples",
)  # fmt: skip

# ---- the ladder and the vault ----------------------------------------------------------------------------------------

fault(
    "ladder.py", "INSERT OR IGNORE INTO runs", "INSERT OR REPLACE INTO runs",
    "a search that resumes overwrites what it found", "ladder::test_a_key_is_there_once",
)  # fmt: skip
fault(
    "ladder.py", "[k for k in known if dev < k.dev]", "[k for k in known if dev <= k.dev]",
    "a loss beats itself", "ladder::test_rungs",
)  # fmt: skip
fault(
    "ladder.py", "if row.dev is None or math.isnan(row.dev) else", "if row.dev is None else",
    "a run that blew up stands anywhere in the table", "ladder::test_seeds_share_a_row_and_known_results_stand_between",
)  # fmt: skip
fault(
    "ladder.py", "None if entry.seed is None else str(entry.seed),", "entry.seed,",
    "a seed above 2**63 ends the grid with an error of SQLite", "ladder::test_the_largest_seed_is_kept",
)  # fmt: skip
fault(
    "ladder.py", "self._Xte, self._Yte = Xte.detach().clone(), Yte.detach().clone()", "self._Xte, self._Yte = Xte, Yte",
    "what happens to Xte in the notebook happens to the sealed set", "ladder::test_what_was_sealed_stays_what_it_was",
)  # fmt: skip
fault(
    "ladder.py", "self._record(reason, loss=loss)  # before", "self._record(reason, loss=None)  # before",
    "the loss on the test set is nowhere written down",
    "ladder::test_the_loss_is_the_exact_loss_and_is_kept_beside_the_reason",
)  # fmt: skip
fault(
    "ladder.py", "(*same, e.stopped is None, *e.losses)", "(*same, *e.losses)",
    "one seed that blew up makes the mean of all nan", "ladder::test_a_run_that_was_stopped_has_its_own_row",
)  # fmt: skip
fault(
    "ladder.py", '            yield db\n            db.execute("COMMIT")',
    '            db.execute("COMMIT")\n            yield db',
    "a write that fails half-way leaves half of it", "ladder::test_a_write_that_fails_half_way_leaves_nothing",
)  # fmt: skip
fault(
    "cores.py", "math.ceil(min(cores, _share()))", "int(min(cores, _share()))",
    "one and a half cores count as one", "cores::test_a_container_uses_its_share",
)  # fmt: skip
fault(
    "places.py", 'os.environ.get("CI", "").lower() not in ("", "0", "false")', 'os.environ.get("CI")',
    "with CI=false nothing is kept", "ladder::test_CI_set_to_no_is_no_CI",
)  # fmt: skip
fault(
    "ladder.py", "_connect(path, \"rw\")", "_connect(path, \"ro\")",
    "after a kill in mid-write the ladder cannot be read", "kill::test_whoever_reads_first_takes_back_what_a_kill_left",
)  # fmt: skip

# ---- a run on disk ---------------------------------------------------------------------------------------------------

fault(
    "store.py", "        shutil.rmtree(partial, ignore_errors=True)\n", "",
    "each try on a full disk leaves a folder", "store::test_a_disk_that_is_full_leaves_nothing",
)  # fmt: skip
fault(
    "store.py", 'if hashlib.sha256(content).hexdigest() != about["sha256"]:', 'if len(content) != len(content):',
    "a flipped bit gives another model in silence", "store::test_any_damage_is_noticed",
)  # fmt: skip
fault(
    "store.py", 'partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")', "partial = path",
    "a kill leaves half a run under the name of a whole one",
    "store::test_a_kill_at_any_moment_loses_nothing_that_was_reported[20]",
)  # fmt: skip
fault(
    "store.py", 'arrays["g"] = g.get_state().numpy()', 'arrays["g"] = torch.Generator().get_state().numpy()',
    "a run that was loaded goes on with other batches", "store::test_a_run_carries_on_as_if_it_had_never_stopped",
)  # fmt: skip
fault(
    "store.py", "history.record(Step(int(i), lr, loss))", "history.record(Step(int(i), loss, lr))",
    "the curve that comes back is that of the learning rate", "store::test_what_was_saved_comes_back",
)  # fmt: skip
fault(
    "store.py", "return loss if math.isfinite(loss) else repr(loss)", "return loss",
    "a run that blew up cannot be saved", "store::test_saving_changes_nothing_and_needs_little",
)  # fmt: skip
fault(
    "store.py", 'if "symbols" in arrays and arrays["symbols"].tolist() != ', 'if "symbols" in arrays and [] == ',
    "a letter that changed on the disk changes every sampled name",
    "store::test_what_is_no_run_is_refused_with_a_sentence",
)  # fmt: skip
fault(
    "store.py", '.encode("utf-8")\n    except ValueError', '.encode("utf-8", "replace")\n    except ValueError',
    "a letter that no file can hold comes back as a question mark", "store::test_bad_input_writes_nothing",
)  # fmt: skip

# ---- training under your hands ---------------------------------------------------------------------------------------

fault(
    "live.py", "            self.g.set_state(g_state)\n", "",
    "after a reset the same buttons give another run", "live::test_reset_brings_back_the_first_state_and_the_same_run",
)  # fmt: skip
fault(
    "live.py", "start=begin, lr=self._lr,", "start=0, lr=self._lr,",
    "after every look the schedule begins anew", "live::test_steps_one_by_one_are_the_plain_run",
)  # fmt: skip
fault(
    "live.py", "min(self.steps, len(self.history) + n)", "min(self.steps, n)",
    "the button for one step works once", "live::test_steps_one_by_one_are_the_plain_run",
)  # fmt: skip
fault(
    "live.py", "{name: t.detach().clone() for", "{name: t.detach() for",
    "reset does nothing", "live::test_reset_brings_back_the_first_state_and_the_same_run",
)  # fmt: skip
fault(
    "live.py", "self._due = max(self._due, now - 2 * _LOOK_SECONDS) + 1 / self._pace", "self._due = now",
    "the slow motion is gone", "live::test_the_pace_is_kept",
)  # fmt: skip
fault(
    "live.py", "                    break\n                if pauses_to_look", "                if pauses_to_look",
    "a run that blew up goes on", "live::test_a_loss_that_is_not_finite_ends_it_and_says_so",
)  # fmt: skip
fault(
    "live.py", "if was_running and not self._closed and self._more():", "if not self._closed and self._more():",
    "moving the slider starts a run that was paused", "live::test_a_setting_starts_no_run",
)  # fmt: skip

# ---- the notebooks' own voice ----------------------------------------------------------------------------------------

fault(
    "lesson.py", "if not low <= value <= high:", "if not low <= value:",
    "a loss far above its band is [ok]", "lesson::test_bands",
)  # fmt: skip
fault(
    "lesson.py", "rel_tol=0.0, abs_tol=atol", "rel_tol=1e-2, abs_tol=atol",
    "3.29 passes for the video's 3.2958", "lesson::test_at_the_videos_settings",
)  # fmt: skip
fault(
    "lesson.py", "best = min(best, time.perf_counter() - start)", "best = time.perf_counter() - start",
    "a time is that of the last try, not of the best",
    "lesson::test_best_seconds_takes_the_shortest_and_sets_up_each_time",
)  # fmt: skip
fault(
    "lesson.py", "expected if on_lecture_file or bundled is None else bundled",
    "expected if bundled is None else bundled",
    "with the lecture's own file the figures are compared with ours", "lesson::test_a_number_of_the_whole_list",
)  # fmt: skip

# ---- exercises -------------------------------------------------------------------------------------------------------

fault(
    "exercises/base.py", "except (Exception, SystemExit) as error:\n            # The learner's",
    "except ValueError as error:\n            # The learner's",
    "an answer with a slip in it ends the page with a traceback", "exercises::test_a_checker_that_raises_says_so",
    "exercises::test_check_never_raises_and_garbage_is_not_right",
)  # fmt: skip
fault(
    "exercises/base.py", 'if verdict.status == "right" and _of_the_course',
    'if verdict.status != "open" and _of_the_course',
    "a wrong answer is marked on the board as solved", "progress::test_check_marks_what_is_right_and_nothing_else",
)  # fmt: skip
fault(
    "exercises/base.py", "        self._hints_given += 1\n", "",
    "the second hint never comes", "exercises::test_hints_come_in_steps_and_the_solution_is_shown",
)  # fmt: skip
fault(
    "exercises/base.py", "        _complained = True\n", "",
    "a home that cannot be written is told at every answer",
    "progress::test_what_cannot_be_written_is_said_once_and_the_answer_is_judged",
)  # fmt: skip
fault(
    "exercises/base.py", "co_code and set(code.co_consts) <= {None, answer.__doc__}", "co_code",
    "an answer that returns one number is taken for none",
    "properties::test_a_function_that_returns_something_is_an_attempt",
)  # fmt: skip
fault(
    "exercises/progress.py", "{number: now} | read_record(path)", "{number: now} | record",
    "what another notebook marks at the same moment is lost",
    "kill::test_what_another_program_enters_while_we_wait_for_it_stays",
)  # fmt: skip
fault(
    "exercises/progress.py", "        if _locked(file):", "        if True:",
    "two notebooks write at once, and one mark is lost", "kill::test_a_record_that_another_program_keeps_is_waited_for",
)  # fmt: skip
fault(
    "exercises/progress.py", "        os.replace(beside, target)\n",
    '        target.write_text(content + "\\n")\n        os.unlink(beside)\n',
    "a kill leaves an empty record", "kill::test_whoever_reads_while_the_record_is_written_reads_the_old_one_whole",
)  # fmt: skip
fault(
    "exercises/progress.py", "            os.unlink(beside)\n        raise", "            pass\n        raise",
    "each answer on a full disk leaves a file", "full_disk::test_a_solved_exercise_is_judged_and_the_record_stays",
)  # fmt: skip
