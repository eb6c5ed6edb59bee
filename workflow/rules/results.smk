# Of each experiment: its tables as Markdown, its figures in one place, its executed notebook in the report.


rule results:
    output:
        "results/{name}.md",
        report("results/{name}.html", category="notebooks", labels={"experiment": "{name}"}),
    input:
        "runs/{name}/done.json",
    log:
        "logs/results-{name}.log",
    shell:
        "python {SCRIPTS:q}/results.py runs/{wildcards.name} results > {log} 2>&1"
