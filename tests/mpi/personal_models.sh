#!/bin/sh
# FedBN: every institution gets a model of its own, alike on any number of ranks, and what the tables
# say of an institution is what that model does.   ... .sh CONSILIUM MAKE_IMAGES MODEL_DIGEST WORK
here=$(cd "$(dirname "$0")" && pwd)
consilium=$1 make_images=$2 digest=$3 work=$4
. "$here/../cli/harness.sh"

"$make_images" pool.h5 160 3 28 41
cat >study.yaml <<'END'
study: personal
seed: 5
data: {path: pool.h5, split: {scheme: iid, min_size: 1}}
institutions: {count: 4}
model: {name: resnet8-28, norm: batch}
training: {lr: 0.05, batch: 16}
federation: {batch_norm: local}
rounds: 1
evaluation: {batch: 64, cross_site: false}
device: host
END
for ranks in 1 3; do
    expect 0 'own batch norm, at each' mpirun -n $ranks "$consilium" run study.yaml --out on-$ranks
    [ "$(ls on-$ranks/personal | tr '\n' ' ')" = \
        'institution-00.h5 institution-01.h5 institution-02.h5 institution-03.h5 ' ] || fail 'not a model each'
    for file in on-$ranks/personal/*; do
        "$digest" "$file"
    done >$ranks.digests
    [ "$(sort -u $ranks.digests | wc -l)" = 4 ] || fail 'two institutions have the same batch norm'
    "$digest" on-$ranks/model-last.h5 >$ranks.global
    ! grep -qxF "$(cat $ranks.global)" $ranks.digests || fail 'an institution has no own batch norm'
done
cmp 1.digests 3.digests || fail 'other models on other ranks'
# Where batch norm is averaged there is nothing personal, and none of an earlier run stays.
expect 0 'all together' "$consilium" run study.yaml --out on-1 --overwrite --quiet \
    --set federation.batch_norm=average
[ ! -e on-1/personal ] || fail 'models of institutions without batch norm of their own'
echo 'personal models are written'
