/* Rules between keys of the study file, and what follows from other keys. */
#include "study_schema.h"

static csl_status check_institutions(csl_study *study, const csl_study_origins *origins)
{
    if (study->institutions.per_round > study->institutions.count) {
        return csl_study_refuse(origins, "institutions.per_round", "%u of %u institutions",
                                study->institutions.per_round, study->institutions.count);
    }
    if (study->institutions.per_round == 0) {
        study->institutions.per_round = study->institutions.count;
    }
    if (study->institutions.ranks_each > study->training.batch) {
        return csl_study_refuse(origins, "institutions.ranks_each",
                                "%u ranks share a batch of %u images",
                                study->institutions.ranks_each, study->training.batch);
    }
    return CSL_OK;
}

static csl_status check_split(const csl_study *study, const csl_study_origins *origins)
{
    const csl_study_split *split = &study->data.split;
    if (!study->data.path[0]) {
        return csl_study_refuse(origins, "data.path", "is not set");
    }
    if (split->validation_fraction + split->test_fraction >= 1.0) {
        return csl_study_refuse(origins, "data.split.test_fraction",
                                "%g for testing and %g for validation leave nothing to train on",
                                split->test_fraction, split->validation_fraction);
    }
    return CSL_OK;
}

static csl_status check_federation(csl_study *study, const csl_study_origins *origins)
{
    csl_federation_options *federation = &study->federation;
    if (federation->algorithm == CSL_SCAFFOLD) {
        if (study->training.optimizer != CSL_OPTIMIZER_SGD) {
            return csl_study_refuse(
                origins, "federation.algorithm",
                "scaffold's control variates are gradients of sgd, not of adamw");
        }
        if (study->training.keep_optimizer_state) {
            return csl_study_refuse(
                origins, "training.keep_optimizer",
                "scaffold measures each round's gradients and needs a fresh optimiser");
        }
    }
    if (federation->server_rate <= 0.0f) {
        bool adaptive =
            federation->algorithm == CSL_FEDADAM || federation->algorithm == CSL_FEDYOGI;
        federation->server_rate = adaptive ? 0.01f : 1.0f;
    }
    return CSL_OK;
}

csl_status csl_study_check(csl_study *study, const csl_study_origins *origins)
{
    CSL_TRY(check_split(study, origins));
    CSL_TRY(check_institutions(study, origins));
    CSL_TRY(check_federation(study, origins));
    csl_train_options *training = &study->training;
    if (training->warmup_rounds > study->rounds) {
        return csl_study_refuse(origins, "training.warmup_rounds", "%u of %u rounds",
                                training->warmup_rounds, study->rounds);
    }
    training->seed = study->seed;
    training->round_count = study->rounds;
    training->proximal_mu =
        study->federation.algorithm == CSL_FEDPROX ? study->federation.mu : 0.0f;
    training->freeze_batch_norm = study->federation.batch_norm == CSL_BATCH_NORM_FREEZE;
    return CSL_OK;
}
