# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions that the collection is held to, as data: `make matrix` tests all of them, docs/compatibility.md promises them."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """One environment. Each supported ansible-core, Python, client and kubernetes.core is in at least one."""

    python: str
    core: str  # ansible-core, of PyPI
    client: str  # kubernetes, of PyPI
    kubernetes_core: str  # the collection, of the wheel of `ansible`
    ansible: str  # of PyPI, which brings that kubernetes.core and need not go with `core`
    without: tuple[str, ...] = ()  # tests of ansible-test sanity that cannot be had with it

    @property
    def name(self) -> str:
        return f"ansible-core {self.core}, Python {self.python}, kubernetes {self.client}, kubernetes.core {self.kubernetes_core}"

    @property
    def venv(self) -> str:
        return f".venv-{self.core}"


# Oldest first. The lower bounds of galaxy.yml, meta/runtime.yml and meta/ee-requirements.txt are the first pair.
PAIRS = (
    Pair(python="3.10", core="2.17.14", client="24.2.0", kubernetes_core="5.0.0", ansible="11.0.0"),
    Pair(python="3.11", core="2.18.19", client="31.0.0", kubernetes_core="5.4.1", ansible="11.13.0"),
    Pair(python="3.11", core="2.19.14", client="35.0.0", kubernetes_core="6.2.0", ansible="12.3.0"),
    Pair(python="3.12", core="2.20.10", client="36.0.3", kubernetes_core="6.4.0", ansible="13.8.0"),
    Pair(python="3.13", core="2.21.5", client="37.0.2", kubernetes_core="6.6.0", ansible="14.5.0"),
    # A candidate. Its pylint wants a requirement that is on no package index.
    Pair(
        python="3.13", core="2.22.0rc1", client="37.0.2", kubernetes_core="6.6.0", ansible="14.5.0", without=("pylint",)
    ),
)
OLDEST = PAIRS[0]
NEWEST = max((pair for pair in PAIRS if pair.core.replace(".", "").isdigit()), key=PAIRS.index)


def _tests(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/playbooks/test_{file}.py::test_{name}" for name in names)


# Plays whose outcome our own code alone decides, of the collection's data and files; the unit tests hold that code on every pair.
# `make older` leaves them to the newest pair, `make matrix` plays them with each. Beginnings of what pytest calls a test.
PLAYED_ONCE = (
    "tests/playbooks/test_manual.py",
    *_tests(
        "around_a_role",
        "a_condition_that_the_facts_turn_false_skips_no_stop[block",
        "a_condition_that_the_facts_turn_false_skips_no_stop[import_playbook",
        "a_condition_that_the_facts_turn_false_skips_no_stop[include_role",
        "a_condition_that_asks_for_the_facts_holds_up_no_open_gate",
        "a_second_check_under_a_condition_of_the_first_stops_where_less_could_be_read",
        "a_condition_over_the_remedy_that_its_first_check_turns_false_is_refused[block",
        "a_condition_over_the_remedy_that_its_first_check_turns_false_is_refused[include_role",
        "a_connection_in_defaults_of_modules_that_no_role_reads_is_refused",
    ),
    *_tests(
        "check_listeners",
        "the_play_fails_on_what_it_was_told_to_and_reports_the_rest",
        "a_waived_finding_does_not_stop_the_play",
        "an_expired_waiver_stops_the_play_and_says_so",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[a record that is missing]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[a record that is none]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[no cluster]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[a probe, and no module that makes one]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[a version that is none]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[somebody else, and tasks that stay themselves]",
        "a_check_that_could_not_be_made_fails_once_whatever_it_may_fail_on[a namespace that the record does not hold]",
        "no_sidecar_is_written_where_nothing_is_to_be_cured",
        "sidecars_that_cannot_be_written_do_not_hide_the_verdict",
        "each_cluster_has_a_directory_of_sidecars_of_its_own",
        "no_name_of_a_host_and_no_link_leads_a_sidecar_out_of_its_directory",
        "hundreds_of_sidecars_are_written_by_one_task",
        "an_unknown_value_names_its_variable",
        "a_variable_of_ones_own_is_a_hint",
        "an_empty_text_is_no_path_and_no_value",
        "a_limit_that_leaves_no_cluster_does_not_pass",
        "a_limit_in_a_file_is_one",
        "some_hosts_of_the_inventory_can_be_chosen",
        "no_value_for_a_snapshot_leaves_the_cluster_to_be_asked_by_tasks",
        "no_variable_without_a_value_hides_the_verdict_on_another_cluster[check_listeners_snapshot",
        "no_variable_without_a_value_hides_the_verdict_on_another_cluster[check_listeners_fail_on",
        "on_a_small_terminal_the_list_fits_a_screen_and_the_sentence_the_last_one",
        "what_was_seen_before_a_failure_is_kept_and_fails_the_play_all_the_same",
        "a_snapshot_that_cannot_be_written_denies_no_check_that_was_made",
        "the_sidecars_are_written_once_and_then_stand",
        "options_that_leave_nothing_to_check_do_not_pass",
    ),
    *_tests(
        "connection",
        "a_kubeconfig_beside_the_caller_and_a_context_count_in_both[dead]",
        "empty_variables_are_as_if_they_were_not_given",
        "no_loop_and_no_variable_of_a_task_hides_one_of_the_users",
    ),
    *_tests("progress", "elsewhere_nothing_is_shown"),
    *_tests(
        "remediate_listeners",
        "a_file_that_is_not_true_any_more_is_refused_before_anything_is_written",
        "a_waived_file_is_refused_with_that_reason",
        "a_record_of_another_cluster_is_neither_written_over_nor_undone",
        "a_file_that_is_no_record_is_named_and_kept",
        "a_reviewed_file_that_is_too_large_is_not_read",
        "a_reviewed_file_with_more_than_a_sidecar_is_refused_before_anything_is_sent",
        "an_undo_file_that_is_no_file_is_refused_and_not_waited_for",
        "an_undo_sends_nothing_of_a_record_that_names_anything_but_its_sidecars",
        "a_sidecar_made_after_the_trial_is_not_overwritten_recorded_or_removed",
        "one_that_someone_changes_after_the_trial_is_left_as_it_is",
        "one_that_someone_makes_meanwhile_is_left_alone",
        "a_failure_in_the_middle_leaves_a_record_that_undoes_the_rest",
        "what_was_reviewed_is_applied_and_taken_back[update]",
        "what_an_earlier_check_said_is_not_gone_by_if_there_can_be_none_now",
        "a_report_that_is_given_is_no_plan",
        "an_empty_directory_variable_is_no_directory",
    ),
    *_tests(
        "reports",
        "a_cluster_that_passes_has_a_report_too_and_by_default_for_people_and_for_merging",
        "a_check_that_could_not_be_made_has_a_report_that_says_so",
        "reports_that_cannot_be_written_fail_the_play_and_do_not_hide_the_verdict",
        "sidecars_that_could_not_be_written_are_a_problem_in_the_report",
        "an_unknown_format_names_its_variable",
        "two_reports_of_one_cluster_are_one_cluster",
        "a_file_that_is_no_report_is_named_on_the_page_and_fails_the_play",
        "merging_says_which_variable_is_wrong",
        "many_clusters_have_files_that_stand_alone_and_one_page_is_made_of_them",
    ),
    *_tests(
        "role_variables",
        "the_formats_of_the_merged_page_mean_the_same_however_they_are_written",
        "a_list_means_the_same_however_it_is_written[exclude_namespaces",
        "a_list_means_the_same_however_it_is_written[namespaces",
        "a_misspelt_prefix_is_refused_at_the_door",
        "a_secret_that_is_part_of_a_word_changes_neither_the_verdict_nor_a_file[api_key-io]",
        "a_secret_that_is_part_of_a_word_changes_neither_the_verdict_nor_a_file[password-127]",
        "a_list_means_the_same_however_it_is_written[report_formats",
    ),
    *_tests(
        "upgrade_gate",
        "nothing_of_the_upgrade_is_reached_if_the_gate_fails[a waiver that is none]",
        "nothing_of_the_upgrade_is_reached_if_the_gate_fails[an option that is none]",
        "no_argument_leads_around_the_gate[arguments1]",
        "no_argument_leads_around_the_gate[arguments2]",
        "one_cluster_that_fails_stops_the_upgrade_of_all_wherever_it_is_played[localhost]",
        "what_is_no_known_way_to_say_false_lets_no_cluster_go_on_by_itself[maybe]",
        "a_namespace_is_moved_to_the_new_revision_only_if_it_loses_no_port",
        "the_precheck_of_istioctl_stops_the_upgrade_beside_the_gate",
    ),
)
