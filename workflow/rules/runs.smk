# Stores, trainings and experiments: a rule for each row of the file (for all seeds of a training), so that a profile
# can give each its own GPUs and hours. attempt.py goes on from a checkpoint and knows which failures are worth it.

for name, rows in PLAN.by_rule().items():

    rule:
        name:
            name
        output:
            f"{rows[0].folder.split('/')[0]}/{{name}}/done.json",
        input:
            lambda wildcards: PLAN.rows[wildcards.name].inputs,
        params:
            command=lambda wildcards: PLAN.rows[wildcards.name].command,
        wildcard_constraints:
            name="|".join(row.name for row in rows),
        resources:
            attempt=lambda wildcards, attempt: attempt,
        threads: PLAN.campaign.threads
        retries: PLAN.campaign.attempts - 1 if workflow.is_main_process else 0 # not once more within a Slurm job
        shell:
            "python {SCRIPTS:q}/attempt.py --folder $(dirname {output}) --attempt {resources.attempt}"
            " --input {input:q} -- {params.command:q}"


rule calibrate:
    output:
        "runs/{name}/model/calibration.json",
    input:
        "runs/{name}/done.json",
    params:
        store=lambda wildcards: PLAN.trainings[wildcards.name].values["store"],
    log:
        "logs/calibrate-{name}.log",
    shell:
        "sommelier calibrate runs/{wildcards.name} {params.store} > {log} 2>&1"


rule card:
    output:
        "runs/{name}/card.md",
        report("runs/{name}/card.png", category="cards", labels={"model": "{name}"}),
    input:
        "runs/{name}/model/calibration.json",
    params:
        store=lambda wildcards: PLAN.trainings[wildcards.name].values["store"],
    log:
        "logs/card-{name}.log",
    shell:
        "sommelier card runs/{wildcards.name} --store {params.store} > {log} 2>&1"
